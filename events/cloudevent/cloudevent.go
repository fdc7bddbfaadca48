// Package cloudevent carries events as CloudEvents 1.0 in binary mode: their
// attributes are ce-* headers, and Data is the body.
package cloudevent

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"ringway/events"
)

// Headers are the attributes of e.
func Headers(e *events.Event) map[string]string {
	return map[string]string{
		"ce-specversion": "1.0",
		"ce-id":          e.ID,
		"ce-source":      "/ringway/" + e.Source,
		"ce-type":        e.Type(),
		"ce-subject":     e.About,
		"ce-time":        e.Time.UTC().Format(time.RFC3339Nano),
		"content-type":   "application/json",
	}
}

// Parse reads an event back from its headers and body.
func Parse(header func(string) string, body []byte) (events.Event, error) {
	if v := header("ce-specversion"); v != "1.0" {
		return events.Event{}, fmt.Errorf("parse event: ce-specversion is %q, want 1.0", v)
	}
	at, err := time.Parse(time.RFC3339Nano, header("ce-time"))
	if err != nil {
		return events.Event{}, fmt.Errorf("parse event: ce-time: %w", err)
	}
	if y := at.UTC().Year(); y < 0 || y > 9999 { // as JSON and RFC 3339 have it
		return events.Event{}, fmt.Errorf("parse event: ce-time: year %d is out of range", y)
	}
	e := events.Event{ID: header("ce-id"), About: header("ce-subject"), Time: at.UTC(), Data: body}
	if e.ID == "" {
		return events.Event{}, fmt.Errorf("parse event: ce-id is missing")
	}
	if err := parseType(&e, header("ce-type")); err != nil {
		return events.Event{}, err
	}
	source, ok := strings.CutPrefix(header("ce-source"), "/ringway/")
	if !ok {
		return events.Event{}, fmt.Errorf("parse event: ce-source %q is none of Ringway's", header("ce-source"))
	}
	e.Source = source
	if len(body) > 0 && !json.Valid(body) {
		return events.Event{}, fmt.Errorf("parse event %s: the body is no JSON", e.ID)
	}
	return e, nil
}

func parseType(e *events.Event, s string) error {
	rest, ok := strings.CutPrefix(s, "io.ringway.")
	if ok {
		e.Entity, e.Verb, ok = strings.Cut(rest, ".")
	}
	if !ok || !word(e.Entity) || !word(e.Verb) {
		return fmt.Errorf("parse event: ce-type %q is none of Ringway's", s)
	}
	return nil
}

// word reports whether s can be one token of a subject and of a type.
func word(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
