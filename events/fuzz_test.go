package events_test

import (
	"encoding/json"
	"testing"

	"ringway/events"
	"ringway/events/cloudevent"
)

// stable demands of whatever a decoder lets through that it can be encoded,
// that the decoder lets it through again, and that it then says the same.
func stable[T any](f *testing.F, decode func([]byte) (T, error), samples ...any) {
	f.Helper()
	for _, s := range samples {
		b, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{}`))
	f.Add([]byte(`null`))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			return
		}
		once, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("%+v cannot be encoded: %v", v, err)
		}
		v, err = decode(once)
		if err != nil {
			t.Fatalf("%s is refused: %v", once, err)
		}
		if twice, err := json.Marshal(v); err != nil || string(twice) != string(once) {
			t.Fatalf("%s became %s, %v", once, twice, err)
		}
	})
}

func FuzzDecodeHostHeartbeat(f *testing.F) {
	stable(f, events.DecodeHostHeartbeat, sampleHostHeartbeat())
}
func FuzzDecodeRouterHeartbeat(f *testing.F) {
	stable(f, events.DecodeRouterHeartbeat, sampleRouterHeartbeat())
}
func FuzzDecodeControllerHeartbeat(f *testing.F) {
	stable(f, events.DecodeControllerHeartbeat, sampleControllerHeartbeat())
}
func FuzzDecodeService(f *testing.F)    { stable(f, events.DecodeService, sampleService()) }
func FuzzDecodeAssignment(f *testing.F) { stable(f, events.DecodeAssignment, sampleAssignment()) }
func FuzzDecodeRoute(f *testing.F)      { stable(f, events.DecodeRoute, sampleRoute()) }
func FuzzSlots(f *testing.F) {
	stable(f, decodeJSON[events.Slots], events.Slots{1, 2, events.NoOwner})
}
func FuzzDuration(f *testing.F) {
	stable(f, decodeJSON[events.Duration], events.Duration(1), events.Duration(1.5e9))
}
func FuzzStatus(f *testing.F) { stable(f, decodeJSON[events.Status], sampleStatus()) }

func FuzzParseEvent(f *testing.F) {
	h := cloudevent.Headers(&happy)
	f.Add(h["ce-specversion"], h["ce-id"], h["ce-source"], h["ce-type"], h["ce-subject"], h["ce-time"], []byte(happy.Data))
	f.Add("1.0", "x", "/ringway/", "io.ringway.a.b", "", "0000-01-01T00:00:00+23:59", []byte(nil))
	f.Fuzz(func(t *testing.T, spec, id, source, kind, subject, at string, body []byte) {
		h := map[string]string{"ce-specversion": spec, "ce-id": id, "ce-source": source, "ce-type": kind, "ce-subject": subject, "ce-time": at}
		e, err := cloudevent.Parse(func(k string) string { return h[k] }, body)
		if err != nil {
			return
		}
		h = cloudevent.Headers(&e)
		again, err := cloudevent.Parse(func(k string) string { return h[k] }, e.Data)
		if err != nil {
			t.Fatalf("%v is refused: %v", h, err)
		}
		once, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("%+v cannot be encoded: %v", e, err)
		}
		if twice, err := json.Marshal(again); err != nil || string(twice) != string(once) {
			t.Fatalf("%s became %s, %v", once, twice, err)
		}
	})
}
