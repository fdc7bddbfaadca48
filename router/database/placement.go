package database

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ringway/events"
	"ringway/events/strictjson"
	"ringway/router/database/api"
)

// parsePlacements reads the servers of /init and /add, if they are there: an object
// whose order counts, with a list of shards for each name. A name with brackets
// asks for a random one.
func parsePlacements(o strictjson.Object) []events.Placement {
	if !o.Has("servers") {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(o.Raw("servers")))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		o.Fail(api.BadRequest("servers is not an object"))
		return nil
	}
	placed := []events.Placement{}
	for dec.More() && o.Err() == nil {
		token, err := dec.Token()
		name := fmt.Sprint(token) // keys of objects are strings
		var list json.RawMessage
		if err == nil {
			err = dec.Decode(&list)
		}
		if err != nil {
			o.Fail(api.BadRequest("servers is not an object"))
		}
		field := fmt.Sprintf("servers.%.70s", name)
		shards := o.TextsOf(field, list)
		if id, twice := repeated(shards); twice {
			o.Fail(api.BadRequest("%s names shard %.70s twice", field, id))
		}
		if strings.ContainsAny(name, "[]") {
			placed = append(placed, events.Placement{Shards: shards})
			continue
		}
		if err := events.ValidName(name); err != nil {
			o.Fail(api.BadRequest("servers: %s", err))
		}
		if slices.ContainsFunc(placed, func(p events.Placement) bool { return p.Name == name }) {
			o.Fail(api.BadRequest("servers: %s is named twice", name))
		}
		placed = append(placed, events.Placement{Name: name, Shards: shards})
	}
	return placed
}

// repeated is the first of some names that was there before.
func repeated(names []string) (name string, twice bool) {
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return name, true
		}
	}
	return "", false
}

// checkPlacements refuses shards that the table does not have.
func checkPlacements(servers []events.Placement, t *events.Table) error {
	for _, p := range servers {
		for _, id := range p.Shards {
			if _, ok := t.Shard(id); !ok {
				return api.BadRequest("servers: %s shall keep shard %.70q, which is not defined", cmp.Or(p.Name, "a server"), id)
			}
		}
	}
	return nil
}

// parseShards reads a list of shards as the assignment writes them: the low end is
// named after the key column.
func parseShards(o strictjson.Object, field string, schema *events.Schema) []events.Shard {
	shards := []events.Shard{}
	for one := range o.Objects(field) {
		one.Only("Shard_id", schema.KeyColumn()+"_low", "Shard_size")
		s := events.Shard{ID: one.Text("Shard_id")}
		one.Require("Shard_id")
		s.Low = one.Key(schema.KeyColumn()+"_low", false)
		s.Size = one.Key("Shard_size", false)
		shards = append(shards, s)
	}
	return shards
}

// parseSchema reads the columns of a table.
func parseSchema(o strictjson.Object) events.Schema {
	in := o.Object("schema", "an object")
	in.Only("columns", "dtypes")
	s := events.Schema{Columns: in.Texts("columns"), DTypes: in.Texts("dtypes")}
	o.Fail(s.Validate())
	return s
}
