package catalog

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"ringway/events"
	"ringway/events/strictjson"
	"ringway/router/database/api"
	"ringway/router/routes"
)

// Tables is one immutable snapshot of all tables.
type Tables struct {
	all     map[string]*Table
	unnamed *Table
	heard   bool // from the bus or a leader: what is not in all does not exist
}

// Table is the compiled route of one table.
type Table struct {
	Route  events.TableRoute
	Epoch  events.Epoch
	Shards []*Shard // in the order of keys, as in Route.Table.Shards
}

// NoTable refuses a call as long as there is no table, or none is known.
func (ts *Tables) NoTable() error {
	if !ts.heard {
		return errNotHeard
	}
	return api.BadRequest("no database is configured; POST /init first")
}

var errNotHeard = events.StatusErrorf(http.StatusServiceUnavailable, "no table is known yet: neither the bus nor a controller was heard since this router started; try again")

// Empty reports whether there is no table.
func (ts *Tables) Empty() bool { return len(ts.all) == 0 }

// Table is the one of a name; nil if there is none.
func (ts *Tables) Table(name string) *Table { return ts.all[name] }

// Unnamed is the table of a call that names none; nil: it has to.
func (ts *Tables) Unnamed() *Table { return ts.unnamed }

// All are all tables, by name.
func (ts *Tables) All() map[string]*Table { return ts.all }

// Find finds the table of a call, which may name none.
func (ts *Tables) Find(name string) (*Table, error) {
	t := ts.all[name]
	if name == "" {
		t = ts.unnamed
	}
	switch {
	case t != nil:
		return t, nil
	case ts.Empty():
		return nil, ts.NoTable()
	case name == "":
		return nil, api.BadRequest("table is missing; name one of %s", ts.names())
	}
	if !ts.heard {
		return nil, errNotHeard
	}
	return nil, events.StatusErrorf(http.StatusNotFound, "table %q does not exist; there is %s", name, ts.names())
}

// Parse reads the body of a call and finds the table that it is about.
func (ts *Tables) Parse(body []byte) (*Table, strictjson.Object, error) {
	if ts.Empty() {
		return nil, strictjson.Object{}, ts.NoTable()
	}
	o, err := strictjson.Parse(body)
	if err != nil {
		return nil, o, err
	}
	name := o.Text("table")
	if err := o.Err(); err != nil {
		return nil, o, err
	}
	t, err := ts.Find(name)
	return t, o, err
}

func (ts *Tables) names() string { return strings.Join(slices.Sorted(maps.Keys(ts.all)), ", ") }

// with is a snapshot in which t serves name; nil: nobody does.
func (ts *Tables) with(name string, t *Table) *Tables {
	next := &Tables{all: map[string]*Table{}, heard: ts.heard}
	maps.Copy(next.all, ts.all)
	delete(next.all, name)
	if t != nil {
		next.all[name] = t
	}
	for name, one := range next.all {
		// Of several others none is: a table that is new beside them must not
		// redirect calls to itself.
		if name == events.DefaultTable || len(next.all) == 1 {
			next.unnamed = one
		}
	}
	return next
}

// compile reads a route that came under the name of a table; what is known of its
// replicas and minimum seqs stays. The caller holds mu.
func (c *Catalog) compile(name string, k routes.Known) (*Table, error) {
	route, err := events.DecodeTableRoute(k.Route)
	if err != nil {
		return nil, err
	}
	if route.Table.Name != name {
		return nil, errors.New("the key is of table " + name + ", the value of " + route.Table.Name)
	}
	return c.build(route, k.Epoch, c.Tables().all[name])
}

func (c *Catalog) build(route events.TableRoute, epoch events.Epoch, old *Table) (*Table, error) {
	t := &Table{Route: route, Epoch: epoch}
	for i := range route.Shards {
		s, err := c.buildShard(&t.Route, i, old.sameLog(&t.Route, i))
		if err != nil {
			return nil, err
		}
		t.Shards = append(t.Shards, s)
	}
	return t, nil
}

// sameLog is what t, which may be nil, has of shard i of a route if its log is
// the same.
func (t *Table) sameLog(route *events.TableRoute, i int) *Shard {
	if t == nil {
		return nil
	}
	s := t.Shard(route.Table.Shards[i].ID)
	if s == nil || s.Log != route.LogID(route.Shards[i]) {
		return nil
	}
	return s
}

// Name is the table's.
func (t *Table) Name() string { return t.Route.Table.Name }

// Schema is the table's.
func (t *Table) Schema() *events.Schema { return &t.Route.Table.Schema }

// Shard is the one of an id; nil if there is none.
func (t *Table) Shard(id string) *Shard {
	if i := slices.IndexFunc(t.Shards, func(s *Shard) bool { return s.ID == id }); i >= 0 {
		return t.Shards[i]
	}
	return nil
}

// Find is the shard that holds key; nil if none does.
func (t *Table) Find(key int64) *Shard {
	i, found := slices.BinarySearchFunc(t.Shards, key, func(s *Shard, key int64) int {
		switch {
		case s.Holds(key):
			return 0
		case s.Low > key:
			return 1
		}
		return -1
	})
	if !found {
		return nil
	}
	return t.Shards[i]
}

// Between lists the shards that hold a key from low to high, in key order.
func (t *Table) Between(low, high int64) []*Shard {
	var found []*Shard
	for _, s := range t.Shards {
		if s.Low <= high && s.High() >= low {
			found = append(found, s)
		}
	}
	return found
}
