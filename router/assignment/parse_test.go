package assignment

import (
	"encoding/json"
	"testing"
)

func FuzzParseScale(f *testing.F) {
	for _, s := range []string{``, `{"n":1}`, `{"n":2,"hostnames":["a","b"]}`, `{"n":1}x`, `[`, `{"n":-0}`, `{"hostnames":[null]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := parseScale(body)
		if err == nil && !json.Valid(body) {
			t.Errorf("%q was read as %+v", body, req)
		}
	})
}
