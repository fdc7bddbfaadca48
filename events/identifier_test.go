package events_test

import (
	"regexp"
	"strings"
	"testing"

	"ringway/events"
)

func TestValidIdentifier(t *testing.T) {
	rule := regexp.MustCompile(`\A[A-Za-z][A-Za-z0-9_]{0,47}\z`)
	for c := range 256 {
		for _, s := range []string{string([]byte{byte(c)}), string([]byte{'a', byte(c)}), "Zz09_" + string([]byte{byte(c)}) + "x"} {
			if got := events.ValidIdentifier(s) == nil; got != rule.MatchString(s) {
				t.Errorf("%q: %v", s, got)
			}
		}
	}
	for n, want := range map[int]bool{0: false, 1: true, 48: true, 49: false} {
		if got := events.ValidIdentifier(strings.Repeat("a", n)) == nil; got != want {
			t.Errorf("%d letters: %v", n, got)
		}
	}
}
