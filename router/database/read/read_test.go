package read

import (
	"testing"

	"ringway/events/strictjson"
)

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{`{"id":{"low":1,"high":2}}`, `{"id":"5"}`, `{"id":{"low":"1","high":1e1}}`, `{`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := strictjson.Parse(body)
		if err != nil {
			return
		}
		if low, high, err := parseRange("id", o); err == nil && low > high {
			t.Errorf("%q: %d to %d", body, low, high)
		}
	})
}
