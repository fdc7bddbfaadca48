package events_test

import (
	"encoding/json"
	"errors"
	"testing"

	"ringway/events"
)

func TestStatusError_StatusIsThatOfAFailure(t *testing.T) {
	for code, want := range map[int]int{0: 400, 200: 400, 399: 400, 400: 400, 409: 409, 503: 503, 599: 599, 600: 400} {
		if got := events.StatusErrorf(code, "no").Status(); got != want {
			t.Errorf("%d: got %d, want %d", code, got, want)
		}
	}
}

func TestStatusError_CauseIsNotSent(t *testing.T) {
	err := events.StatusErrorf(409, "no").With(events.ErrConflict)
	if !errors.Is(err, events.ErrConflict) || err.Error() != "no" {
		t.Errorf("got %v, caused by %v", err, errors.Unwrap(err))
	}
	if b, err := json.Marshal(err); err != nil || string(b) != `{"code":409,"message":"no"}` {
		t.Errorf("sent as %s, %v", b, err)
	}
}
