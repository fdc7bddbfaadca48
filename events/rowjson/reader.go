package rowjson

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Reader reads values, rows and what lies around them out of JSON in one pass,
// without reflection. Strings and numbers that it returns share memory with the
// text. Where a method fails, the reader is of no further use.
type Reader struct {
	text    string
	at      int
	exact   bool
	columns int // of the last row
}

// NewReader reads any JSON. White space is skipped before each token.
func NewReader(text string) Reader { return Reader{text: text} }

// NewExactReader accepts only what Ringway writes: no white space, and numbers
// in canonical form. For anything else its callers ask encoding/json.
func NewExactReader(text string) Reader { return Reader{text: text, exact: true} }

// End reports whether nothing is left.
func (r *Reader) End() bool {
	r.skip()
	return r.at == len(r.text)
}

// Pass reports whether c comes next, and passes it.
func (r *Reader) Pass(c byte) bool {
	if r.at < len(r.text) && r.text[r.at] == c { // Fast path: no white space
		r.at++
		return true
	}
	r.skip()
	if r.at == len(r.text) || r.text[r.at] != c {
		return false
	}
	r.at++
	return true
}

// Literal reports whether token comes next, and passes it.
func (r *Reader) Literal(token string) bool {
	r.skip()
	if !strings.HasPrefix(r.text[r.at:], token) {
		return false
	}
	r.at += len(token)
	return true
}

// Field passes a token and reads the string that follows it.
func (r *Reader) Field(token string, to *string) bool {
	if !r.Literal(token) {
		return false
	}
	text, err := r.Text()
	*to = text
	return err == nil
}

// List passes a list from behind its opening bracket to its closing one. It has
// one element at least.
func (r *Reader) List(element func() bool) bool {
	for element() {
		if r.Pass(']') {
			return true
		}
		if !r.Pass(',') {
			return false
		}
	}
	return false
}

// Int reads an integer without fraction or exponent.
func (r *Reader) Int() (int64, bool) {
	text, ok := r.digits()
	i, err := strconv.ParseInt(text, 10, 64)
	return i, ok && err == nil
}

// Uint reads an integer that is not negative, as Int does.
func (r *Reader) Uint() (uint64, bool) {
	text, ok := r.digits()
	i, err := strconv.ParseUint(text, 10, 64)
	return i, ok && err == nil
}

func (r *Reader) digits() (string, bool) {
	r.skip()
	from := r.at
	end, ok := scanInteger(r.text, from)
	r.at = end
	return r.text[from:end], ok && (end == len(r.text) || !numeric(r.text[end]))
}

// Value reads a number or a string.
func (r *Reader) Value() (Value, error) {
	r.skip()
	if r.at < len(r.text) && r.text[r.at] == '"' {
		text, err := r.Text()
		return Text(text), err
	}
	from := r.at
	end, ok := scanInteger(r.text, from)
	if ok && (end == len(r.text) || !numeric(r.text[end])) { // Fast path: most numbers are
		r.at = end
		return Value{text: r.text[from:end], number: true, set: true}, nil
	}
	for end < len(r.text) && numeric(r.text[end]) {
		end++
	}
	if end == from {
		return Value{}, fmt.Errorf("%s is neither a number nor a string", r.kind())
	}
	written := r.text[from:end]
	v, err := Number(written)
	if err == nil && r.exact && v.text != written {
		err = fmt.Errorf("%.40q is not how the number is written", written)
	}
	r.at = end
	return v, err
}

// Text reads a string. What encoding/json would replace silently is refused: a
// value has to come back as it went in.
func (r *Reader) Text() (string, error) {
	if !r.Pass('"') {
		return "", fmt.Errorf("%s is no string", r.kind())
	}
	from, end := r.at, r.at
	escaped, all := false, byte(0)
	for ; end < len(r.text) && r.text[end] != '"'; end++ {
		c := r.text[end]
		if c < ' ' {
			return "", fmt.Errorf("a control character in a string")
		}
		if c == '\\' {
			escaped = true
			if end++; end < len(r.text) {
				c = r.text[end]
			}
		}
		all |= c
	}
	if end >= len(r.text) {
		return "", fmt.Errorf("a string without an end")
	}
	text := r.text[from:end]
	r.at = end + 1
	if all >= utf8.RuneSelf && !utf8.ValidString(text) {
		return "", fmt.Errorf("not valid UTF-8")
	}
	if !escaped {
		return text, nil
	}
	return unescape([]byte(text))
}

// Row reads an array of values.
func (r *Reader) Row() (Row, error) {
	if !r.Pass('[') {
		return nil, fmt.Errorf("row: %s is no array of values", r.kind())
	}
	row := make(Row, 0, r.columns)
	for !r.Pass(']') {
		if len(row) > 0 && !r.Pass(',') || len(row) == MaxColumns {
			return nil, fmt.Errorf("row: want at most %d values between [ and ]", MaxColumns)
		}
		v, err := r.Value()
		if err != nil {
			return nil, fmt.Errorf("row: value %d: %w", len(row)+1, err)
		}
		row = append(row, v)
	}
	r.columns = len(row)
	return row, nil
}

// Object reads an object whose fields are columns, each at most once, in any
// order. Values of columns that are missing are not set. Its errors name the
// column.
func (r *Reader) Object(columns []string) (Row, error) {
	if !r.Pass('{') {
		return nil, fmt.Errorf("row: %s is no object", r.kind())
	}
	row := make(Row, len(columns))
	for n := 0; !r.Pass('}'); n++ {
		if n > 0 && !r.Pass(',') {
			return nil, fmt.Errorf("row: %s instead of a comma", r.kind())
		}
		i, name, err := r.column(columns, n)
		switch {
		case err != nil:
			return nil, fmt.Errorf("row: %w", err)
		case i < 0:
			return nil, fmt.Errorf("%s: no such column", Shorten(name))
		case row[i].set:
			return nil, fmt.Errorf("%s: given twice", name)
		case !r.Pass(':'):
			return nil, fmt.Errorf("%s: %s instead of a colon", name, r.kind())
		}
		if row[i], err = r.Value(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return row, nil
}

// column reads a name and finds it in columns, most likely as number likely; -1
// if it is not there.
func (r *Reader) column(columns []string, likely int) (int, string, error) {
	r.skip()
	if likely < len(columns) { // Fast path: identifiers need no escape
		name := columns[likely]
		if end := r.at + len(name) + 2; end <= len(r.text) && r.text[r.at] == '"' && r.text[end-1] == '"' && r.text[r.at+1:end-1] == name {
			r.at = end
			return likely, name, nil
		}
	}
	name, err := r.Text()
	for i, c := range columns {
		if c == name {
			return i, name, err
		}
	}
	return -1, name, err
}

func (r *Reader) skip() {
	for !r.exact && r.at < len(r.text) && space(r.text[r.at]) {
		r.at++
	}
}

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// kind is what comes next, for an error.
func (r *Reader) kind() string {
	r.skip()
	rest := r.text[r.at:]
	switch {
	case rest == "":
		return "nothing"
	case rest[0] == '{':
		return "an object"
	case rest[0] == '[':
		return "an array"
	case rest[0] == '"':
		return "a string"
	}
	for _, word := range []string{"null", "true", "false"} {
		if strings.HasPrefix(rest, word) {
			return word
		}
	}
	return fmt.Sprintf("%.10q", rest)
}

// unescape is the string that is written as raw.
func unescape(raw []byte) (string, error) {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		unit, ok := codeUnit(raw[i:])
		if !ok {
			i++ // another escape
			continue
		}
		if unit>>10 == 0xDC00>>10 {
			return "", fmt.Errorf("half of a surrogate pair in a string")
		}
		i += 5
		if unit>>10 == 0xD800>>10 {
			if low, ok := codeUnit(raw[min(i+1, len(raw)):]); !ok || low>>10 != 0xDC00>>10 {
				return "", fmt.Errorf("half of a surrogate pair in a string")
			}
			i += 6
		}
	}
	var text string
	if err := json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &text); err != nil {
		return "", fmt.Errorf("a string that is no JSON: %w", err)
	}
	return text, nil
}

// codeUnit is the UTF-16 unit that b, which begins with a backslash, escapes.
func codeUnit(b []byte) (uint64, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return unit, err == nil
}
