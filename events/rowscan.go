package events

import "unicode/utf8"

// ScanRow reads one row as ReadRow does, at text[at:], and tells where it ends.
// It is false for what ReadRow refuses, and may be for what looks unusual: ask
// ReadRow then. The row shares memory with text.
func (s *Schema) ScanRow(text string, at int) (row Row, end int, ok bool) {
	at = Blank(text, at)
	if at >= len(text) || text[at] != '{' {
		return nil, at, false
	}
	row = make(Row, len(s.Columns))
	for n := range row {
		var i int
		var v Value
		if i, at = s.scanColumn(text, Blank(text, at+1), n); i < 0 || row[i].set {
			return nil, at, false
		}
		if at = Blank(text, at); at >= len(text) || text[at] != ':' {
			return nil, at, false
		}
		if v, at, ok = scanValue(text, Blank(text, at+1)); !ok {
			return nil, at, false
		}
		row[i] = v
		want := byte(',')
		if n == len(row)-1 {
			want = '}'
		}
		if at = Blank(text, at); at >= len(text) || text[at] != want {
			return nil, at, false
		}
	}
	return row, at + 1, s.Check(row) == nil
}

// Blank is the first place from at on that is not white space of JSON.
func Blank(text string, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// scanColumn finds the column whose quoted name is at text[at:], most likely
// column likely; -1 if none is, or it is written with escapes.
func (s *Schema) scanColumn(text string, at, likely int) (i, end int) {
	for range s.Columns {
		name := s.Columns[likely]
		if end = at + len(name) + 2; end <= len(text) && text[at] == '"' && text[end-1] == '"' && text[at+1:end-1] == name {
			return likely, end
		}
		if likely++; likely == len(s.Columns) {
			likely = 0
		}
	}
	return -1, at
}

func scanValue(text string, at int) (v Value, end int, ok bool) {
	if at < len(text) && text[at] == '"' {
		return scanText(text, at+1)
	}
	if end, ok = scanInteger(text, at); ok && (end == len(text) || !numeric(text[end])) {
		return Value{text: text[at:end], number: true, set: true}, end, true
	}
	for end = at; end < len(text) && numeric(text[end]); end++ {
	}
	number, err := canonical(text[at:end])
	return Value{text: number, number: true, set: true}, end, err == nil
}

// scanText reads a string from behind its first quote.
func scanText(text string, at int) (v Value, end int, ok bool) {
	escaped, all := false, byte(0)
	for end = at; end < len(text) && text[end] != '"'; end++ {
		c := text[end]
		if c < ' ' {
			return Value{}, end, false
		}
		if c == '\\' {
			escaped = true
			end++
		}
		all |= c
	}
	if end >= len(text) || all >= utf8.RuneSelf && !utf8.ValidString(text[at:end]) {
		return Value{}, end, false
	}
	if !escaped {
		return Text(text[at:end]), end + 1, true
	}
	plain, err := unescape([]byte(text[at:end]))
	return Text(plain), end + 1, err == nil
}
