package recovery

import (
	"strings"
	"testing"
)

func TestIsYes(t *testing.T) {
	for text, want := range map[string]bool{"y\n": true, "YES\n": true, "": false, "\n": false, "y": false, "no\n": false, "yep\n": false} {
		if got := isYes(strings.NewReader(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
