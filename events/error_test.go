package events_test

import (
	"testing"

	"ringway/events"
)

func TestRefusal_StatusIsThatOfAFailure(t *testing.T) {
	for code, want := range map[int]int{0: 400, 200: 400, 399: 400, 400: 400, 409: 409, 503: 503, 599: 599, 600: 400} {
		if got := events.StatusErrorf(code, "no").Status(); got != want {
			t.Errorf("%d: got %d, want %d", code, got, want)
		}
	}
}
