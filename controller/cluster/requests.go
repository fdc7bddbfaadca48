package cluster

import (
	"net/http"
	"slices"

	"ringway/events"
	"ringway/events/size"
)

// FalseFirst orders false before true.
func FalseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// RemovedMeanwhile refuses to call a request done if what it added was removed
// meanwhile: has reports what is there of it.
func RemovedMeanwhile[T any](added []string, all []T, has func(T) bool) error {
	lost := len(added)
	for _, x := range all {
		if has(x) {
			lost--
		}
	}
	switch {
	case lost <= 0:
		return nil
	case len(added) == 1:
		return events.StatusErrorf(http.StatusConflict, "'%s' was added, and has been removed since", added[0])
	default:
		return events.StatusErrorf(http.StatusConflict, "of %d that were added %d have been removed since", len(added), lost)
	}
}

// PreviousAnswer finds a request that was accepted before, perhaps by another
// leader.
func PreviousAnswer(answered []events.Answered, request string) (events.Answered, bool) {
	i := slices.IndexFunc(answered, func(a events.Answered) bool { return request != "" && a.Request == request })
	if i < 0 {
		return events.Answered{}, false
	}
	return answered[i], true
}

// RememberAnswer adds an accepted request to those that are known again when
// they are repeated, of which it keeps the newest: so many as fit beside it.
func RememberAnswer(answered []events.Answered, a events.Answered, limit int) []events.Answered {
	if a.Request == "" {
		return answered
	}
	answered = append(slices.Clone(answered), a)
	answered = answered[max(0, len(answered)-limit):]
	names := 0
	for i := len(answered) - 1; i >= 0; i-- {
		names += len(answered[i].Added) + len(answered[i].Removed)
		if names > size.MaxAnsweredNames && i < len(answered)-1 {
			return answered[i+1:]
		}
	}
	return answered
}

// CheckID bounds what every replica keeps.
func CheckID(request string) error {
	if len(request) > events.MaxRequestBytes {
		return events.StatusErrorf(http.StatusBadRequest, "id: %d bytes are too many; at most %d", len(request), events.MaxRequestBytes)
	}
	return nil
}
