package rowjson

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of values. A Number fits SQL's DECIMAL(65,30).
const (
	MaxIntegerDigits  = 35
	MaxFractionDigits = 30
	MaxStringBytes    = 65535
)

// Value is what one column of a row holds: an exact decimal number or a
// string. Equal values compare equal with ==. The zero Value is neither, and
// stands for nothing.
type Value struct {
	text   string
	number bool
	set    bool
}

// Text is the value of a string.
func Text(s string) Value { return Value{text: s, set: true} }

// Int is the value of an integer.
func Int(i int64) Value { return Value{text: strconv.FormatInt(i, 10), number: true, set: true} }

// Number reads a decimal as JSON writes it and keeps it exactly, in canonical
// form: 1.50, 15e-1 and 1.5 are one value.
func Number(s string) (Value, error) {
	text, err := canonical(s)
	if err != nil {
		return Value{}, err
	}
	return Value{text: text, number: true, set: true}, nil
}

// IsNumber reports whether v is a number.
func (v Value) IsNumber() bool { return v.number }

// IsText reports whether v is a string.
func (v Value) IsText() bool { return v.set && !v.number }

// Raw is the string, or the canonical text of the number.
func (v Value) Raw() string { return v.text }

// Int64 is v as a key.
func (v Value) Int64() (int64, error) {
	if !v.number {
		return 0, fmt.Errorf("%s is no integer", v.Shown())
	}
	if i, err := strconv.Atoi(v.text); err == nil { // Fast path, which ParseInt has none of
		return int64(i), nil
	}
	i, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is no 64-bit integer", v.text)
	}
	return i, nil
}

// String is v as JSON.
func (v Value) String() string { return string(v.Append(nil)) }

// Shown is v as an error may quote it.
func (v Value) Shown() string {
	if s := v.String(); len(s) <= 60 {
		return s
	}
	return "a string of " + strconv.Itoa(len(v.text)) + " bytes"
}

// Check names what a store could not hold.
func (v Value) Check() error {
	switch {
	case !v.set:
		return fmt.Errorf("missing")
	case v.number:
		return nil // bounded when it was made
	case len(v.text) > MaxStringBytes:
		return fmt.Errorf("%d bytes are too many; a string has at most %d", len(v.text), MaxStringBytes)
	case !utf8.ValidString(v.text):
		return fmt.Errorf("not valid UTF-8")
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) { return v.Append(nil), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (v *Value) UnmarshalJSON(b []byte) error {
	r := NewReader(string(b))
	got, err := r.Value()
	if err != nil {
		return err
	}
	if !r.End() {
		return fmt.Errorf("value: more than one")
	}
	*v = got
	return nil
}

// Append appends v as JSON.
func (v Value) Append(to []byte) []byte {
	switch {
	case !v.set:
		return append(to, "null"...)
	case v.number:
		return append(to, v.text...)
	}
	return AppendText(to, v.text)
}

// AppendText writes s as json.Marshal does, without its detour where nothing needs an
// escape.
func AppendText(to []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string can always be JSON
			return append(to, quoted...)
		}
	}
	to = append(to, '"')
	to = append(to, s...)
	return append(to, '"')
}

// canonical is the one way to write a decimal: no exponent, no leading or
// trailing zero that says nothing, no minus before zero.
func canonical(s string) (string, error) {
	if plain(s) {
		return s, nil
	}
	rest, negative := strings.CutPrefix(s, "-")
	whole, rest := digits(rest)
	var fraction string
	if after, found := strings.CutPrefix(rest, "."); found {
		if fraction, rest = digits(after); fraction == "" {
			whole = "" // 1. is no JSON
		}
	}
	exponent, ok := 0, true
	if rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		exponent, ok = exponentOf(rest[1:])
		rest = ""
	}
	if !ok || whole == "" || rest != "" || len(whole) > 1 && whole[0] == '0' {
		return "", fmt.Errorf("%.40q is no number", s)
	}
	all := whole + fraction
	point := len(whole) + exponent // digits of all before the point
	lead := len(all) - len(strings.TrimLeft(all, "0"))
	all, point = all[lead:], point-lead
	all = strings.TrimRight(all, "0")
	if all == "" {
		return "0", nil
	}
	if point > MaxIntegerDigits || len(all)-point > MaxFractionDigits {
		return "", fmt.Errorf("%.80s is too long; a number has at most %d digits before and %d after the point", s, MaxIntegerDigits, MaxFractionDigits)
	}
	var out strings.Builder
	if negative {
		out.WriteByte('-')
	}
	switch {
	case point <= 0:
		out.WriteString("0." + strings.Repeat("0", -point) + all)
	case point >= len(all):
		out.WriteString(all + strings.Repeat("0", point-len(all)))
	default:
		out.WriteString(all[:point] + "." + all[point:])
	}
	return out.String(), nil
}

// exponentOf reads what follows an e. Beyond every bound all are the same.
func exponentOf(s string) (int, bool) {
	rest, negative := strings.CutPrefix(s, "-")
	if !negative {
		rest = strings.TrimPrefix(rest, "+")
	}
	number, rest := digits(rest)
	if number == "" || rest != "" {
		return 0, false
	}
	n := 1_000_000_000
	if number = strings.TrimLeft(number, "0"); len(number) < 10 {
		n, _ = strconv.Atoi("0" + number) // nine digits
	}
	if negative {
		n = -n
	}
	return n, true
}

// plain reports whether s is a short integer in canonical form already.
func plain(s string) bool {
	end, ok := scanInteger(s, 0)
	return ok && end == len(s)
}

// scanInteger finds the end of the digits at text[at:], and whether they are a
// short integer in canonical form.
func scanInteger(text string, at int) (end int, ok bool) {
	first := at
	if at < len(text) && text[at] == '-' {
		first++
	}
	for end = first; end < len(text) && digit(text[end]); end++ {
	}
	n := end - first
	return end, 0 < n && n <= MaxIntegerDigits && (text[first] != '0' || end == at+1)
}

func digits(s string) (head, tail string) {
	i := 0
	for i < len(s) && digit(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// numeric reports whether c may be in a number.
func numeric(c byte) bool {
	return digit(c) || c == '+' || c == '-' || c == '.' || c == 'e' || c == 'E'
}

// Shorten keeps what an error quotes small.
func Shorten(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	return strings.ToValidUTF8(s[:maxQuoted], "") + "…"
}

const maxQuoted = 63
