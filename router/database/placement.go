package database

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"ringway/events"
	"ringway/router/database/api"
)

// parsePlacements reads servers as /init and /add write them: an object whose
// order counts, with a list of shards for each name. A name with brackets asks
// for a random one.
func parsePlacements(raw json.RawMessage) ([]events.Placement, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, api.BadRequest("servers is not an object")
	}
	placed := []events.Placement{}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, api.BadRequest("servers is not an object")
		}
		name := fmt.Sprint(token) // keys of objects are strings
		var list json.RawMessage
		if err := dec.Decode(&list); err != nil {
			return nil, api.BadRequest("servers is not an object")
		}
		field := fmt.Sprintf("servers.%.70s", name)
		shards, err := api.Texts(field, list)
		if err != nil {
			return nil, err
		}
		for i, id := range shards {
			for _, before := range shards[:i] {
				if before == id {
					return nil, api.BadRequest("%s names shard %.70s twice", field, id)
				}
			}
		}
		if strings.ContainsAny(name, "[]") {
			placed = append(placed, events.Placement{Shards: shards})
			continue
		}
		if err := events.ValidName(name); err != nil {
			return nil, api.BadRequest("servers: %s", err)
		}
		if seen[name] {
			return nil, api.BadRequest("servers: %s is named twice", name)
		}
		seen[name] = true
		placed = append(placed, events.Placement{Name: name, Shards: shards})
	}
	return placed, nil
}

// parseShards reads a list of shards as the assignment writes them: the low end is
// named after the key column.
func parseShards(field, key string, list []json.RawMessage) ([]events.Shard, error) {
	low := key + "_low"
	shards := make([]events.Shard, len(list))
	for i, raw := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		o, ok := api.Fields(raw)
		if !ok {
			return nil, api.BadRequest("%s is not an object", at)
		}
		id, err := o.Text("Shard_id")
		if err == nil && !o.Has("Shard_id") {
			err = api.BadRequest("Shard_id is missing")
		}
		s := &shards[i]
		s.ID = id
		for _, f := range []struct {
			name string
			to   *int64
		}{{low, &s.Low}, {"Shard_size", &s.Size}} {
			if raw, ok := o[f.name]; err == nil && ok {
				*f.to, err = api.ParseKey(f.name, raw, false)
			} else if err == nil {
				err = api.BadRequest("%s is missing", f.name)
			}
		}
		if err != nil {
			return nil, api.BadRequest("%s: %s", at, err)
		}
	}
	return shards, nil
}

// parseSchema reads the columns of a table.
func parseSchema(raw json.RawMessage) (events.Schema, error) {
	o, ok := api.Fields(raw)
	if !ok {
		return events.Schema{}, api.BadRequest("schema is not an object")
	}
	var s events.Schema
	for _, f := range []struct {
		name string
		to   *[]string
	}{{"columns", &s.Columns}, {"dtypes", &s.DTypes}} {
		raw, ok := o[f.name]
		if !ok {
			return events.Schema{}, api.BadRequest("schema.%s is missing", f.name)
		}
		var err error
		if *f.to, err = api.Texts("schema."+f.name, raw); err != nil {
			return events.Schema{}, err
		}
	}
	return s, nil
}
