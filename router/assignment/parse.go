package assignment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"ringway/events"
)

// parseScale reads the body of /add and /rm; its errors name the field.
func parseScale(body []byte) (events.ScaleRequest, error) {
	var req events.ScaleRequest
	var fields map[string]json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&fields); err != nil || fields == nil {
		return req, errors.New("the body is no JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return req, errors.New("the body goes on after the JSON object")
	}
	raw, ok := fields["n"]
	if !ok {
		return req, errors.New("n is missing")
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil {
		return req, errors.New("n is not an integer")
	}
	req.N = n
	var names []json.RawMessage
	if raw, ok := fields["hostnames"]; ok {
		if err := json.Unmarshal(raw, &names); err != nil {
			return req, errors.New("hostnames is not a list")
		}
	}
	for i, raw := range names {
		var name *string
		if err := json.Unmarshal(raw, &name); err != nil || name == nil {
			return req, fmt.Errorf("hostnames[%d] is not a string", i)
		}
		req.Names = append(req.Names, *name)
	}
	return req, nil
}
