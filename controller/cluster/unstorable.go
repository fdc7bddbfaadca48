package cluster

import (
	"net/http"
	"slices"
	"time"

	"ringway/events"
	"ringway/events/size"
)

// unstorable is a value that the bus has refused. It is decided again each time
// somebody looks, and kept from the bus until its time, or until less is to be
// stored: everything else goes on meanwhile.
type unstorable struct {
	size  int // bytes, of the smallest that was refused
	until time.Time
}

// Target is where a put is stored; ok is false for another effect.
func Target(e Effect) (bucket, key string, value any, ok bool) {
	switch e := e.(type) {
	case PutService:
		return events.BucketDesired, events.ServiceKey(e.Value.Spec.Name), e.Value, true
	case PutAssignment:
		return events.BucketAssign, e.Value.Host, e.Value, true
	case PutRoute:
		return events.BucketRoutes, events.ServiceKey(e.Value.Service), e.Value, true
	case PutTable:
		return events.BucketDesired, events.TableKey(e.Value.Table.Name), e.Value, true
	case PutTableRoute:
		return events.BucketRoutes, events.TableKey(e.Value.Table.Name), e.Value, true
	}
	return "", "", nil, false
}

// RecordRefusal takes note that the bus does not store the value of e, for a
// reason that concerns only it. It is told once.
func RecordRefusal(s *State, e Effect, err error, now time.Time) []Effect {
	bucket, key, value, _ := Target(e)
	at, bytes := bucket+"/"+key, size.EncodedBytes(value)
	before, known := s.unstorable[at]
	if known {
		bytes = min(bytes, before.size)
	}
	s.unstorable[at] = unstorable{size: bytes, until: now.Add(s.Cfg.RetryMax)}
	if known {
		return nil
	}
	return s.Emit(now, events.EntityBus, events.VerbRefused, bucket, map[string]any{
		"key": key, "bytes": bytes, "most": size.MaxValueBytes, "reason": err.Error(), "retry": events.Duration(s.Cfg.RetryMax),
	})
}

// RecordStored takes note that a value could be stored.
func RecordStored(s *State, bucket, key string) { delete(s.unstorable, bucket+"/"+key) }

// Refused reports whether the bus has just refused a value of this key.
func Refused(s *State, bucket, key string, now time.Time) bool {
	return now.Before(s.unstorable[bucket+"/"+key].until)
}

// Storable leaves out the puts that the bus has refused just now.
func (s *State) Storable(effects []Effect, now time.Time) []Effect {
	if len(s.unstorable) == 0 {
		return effects
	}
	return slices.DeleteFunc(effects, func(e Effect) bool {
		bucket, key, value, ok := Target(e)
		refused, known := s.unstorable[bucket+"/"+key]
		// Times and numbers in a value vary by some bytes.
		return ok && known && now.Before(refused.until) && size.EncodedBytes(value) > refused.size-256
	})
}

// CheckSpecs refuses to configure a service or table with more than can be
// stored, by itself or together with all others.
func CheckSpecs(s *State, name string, spec any) error {
	if err := size.CheckSpecSize(spec); err != nil {
		return err
	}
	total := size.EncodedBytes(spec)
	for other, svc := range s.Services {
		if other != name {
			total += size.EncodedBytes(svc.Value.Spec)
		}
	}
	for other, db := range s.Tables {
		if other != name {
			total += size.EncodedBytes(db.Value.ServerSpec)
		}
	}
	return size.CheckSpecsSize(total)
}

// CheckStorable refuses a request whose result would be too large to be stored.
func CheckStorable(what string, value any) error {
	if n := size.EncodedBytes(value); n > size.MaxValueBytes {
		return events.StatusErrorf(http.StatusRequestEntityTooLarge, "%s would take %d bytes to store; at most %d can be", what, n, size.MaxValueBytes)
	}
	return nil
}
