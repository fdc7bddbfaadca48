package events

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"ringway/events/rowjson"
)

// KindShard is the Kind of an instance that is a shard server.
const KindShard = "shard"

// DefaultTable is the table of the course, whose calls name none.
const DefaultTable = "StudT"

// DefaultShardReplicas is how many servers keep a shard that nobody specifies.
const DefaultShardReplicas = 3

// Sizes of databases: a table's route has to fit one NATS message.
const (
	MaxShardServers = 500  // of one table
	MaxReplicas     = 4000 // of all shards of one table
)

// Database is the value of a table in BucketDesired: what people asked for, and
// which shard servers keep it.
type Database struct {
	Table Table `json:"table"`
	ServerSpec
	Logs     []ShardLog    `json:"logs"`    // one a shard, in the table's order
	Servers  []ShardServer `json:"servers"` // in the order in which people named them
	Answered []Answered    `json:"answered,omitempty"`

	ConfigHash        string      `json:"configured,omitempty"` // digest of the configuration of the table that was looked at last
	ServersConfigHash string      `json:"followed,omitempty"`   // digest of the configuration of its servers that was followed last
	ServersGiven      time.Time   `json:"given,omitzero"`       // when that was given
	Before            *ServerSpec `json:"before,omitempty"`     // what servers that are behind run
	Stuck             string      `json:"stuck,omitempty"`      // why ServerSpec is not rolled out any further
	Decision
}

// ServerSpec is what people write about the shard servers of a table: what
// each of them is started with.
type ServerSpec struct {
	Engine string            `json:"engine,omitempty"` // auto, mysql or sqlite; empty is auto
	Env    map[string]string `json:"env,omitempty"`
	Image  string            `json:"image,omitempty"` // containers only; empty: the agent's --shard-image
	Limits Limits            `json:"limits,omitzero"` // containers only
}

// ValidServerSpec names the first field that cannot be, and what to write instead.
func ValidServerSpec(s ServerSpec) error {
	if !slices.Contains([]string{"", "auto", "mysql", "sqlite"}, s.Engine) {
		return fmt.Errorf("engine: %q is unknown; use auto, mysql or sqlite", rowjson.Shorten(s.Engine))
	}
	return validContainer(s.Image, 0, s.Limits)
}

// Runs is what a server of the table is to be started with.
func (d *Database) Runs(srv ShardServer) ServerSpec {
	if srv.Behind && d.Before != nil {
		return *d.Before
	}
	return d.ServerSpec
}

// ShardLog is the log that a shard has now. A log that is not Made may be made
// by the leader; one that is, by nobody: if it is missing, that is a fault.
type ShardLog struct {
	Shard       string    `json:"shard"`
	Incarnation string    `json:"incarnation"`
	Made        bool      `json:"made"`
	Origin      *Position `json:"origin,omitempty"` // after a recovery: the state, in the log before, that this one continues
}

// First is the seq of the log's first batch.
func (l *ShardLog) First() uint64 {
	if l.Origin != nil {
		return l.Origin.Seq + 1
	}
	return 1
}

// ShardServer is one wanted shard server. Its ID is the smallest positive
// integer that was free when it joined; a replacement inherits it, and Request,
// and the Volume if it runs on the same host.
type ShardServer struct {
	Name    string `json:"name"`
	ID      int    `json:"id"`
	Request string `json:"request,omitempty"` // that added it; unlike name and id, never used again

	Shards []string `json:"shards"`
	Volume string   `json:"volume"`         // id of its data directory, which outlives instances
	Host   string   `json:"host,omitempty"` // where the volume lies; empty: nowhere yet
	Was    *Volume  `json:"was,omitempty"`  // on a lost host: goes on there if that returns before this one is filled

	Behind  bool     `json:"behind,omitempty"`  // runs what was configured before: it was not its turn yet, or it did not get ready with what is new
	Renewal *Renewal `json:"renewal,omitempty"` // under way
}

// Renewal of a shard server: it is stopped, and started again under its name on
// its volume with what is configured now.
type Renewal struct {
	Why     string `json:"why"`
	Stopped bool   `json:"stopped,omitempty"` // it has ended; what runs, or will, is the new life
}

// Stopping reports whether the server is to end, to be started anew.
func (s ShardServer) Stopping() bool { return s.Renewal != nil && !s.Renewal.Stopped }

// Volume is a data directory on a host.
type Volume struct {
	ID   string `json:"id"`
	Host string `json:"host"`
}

// Log finds the log of a shard.
func (d *Database) Log(shard string) (ShardLog, bool) {
	i := slices.IndexFunc(d.Logs, func(l ShardLog) bool { return l.Shard == shard })
	if i < 0 {
		return ShardLog{}, false
	}
	return d.Logs[i], true
}

// DecodeDatabase reads a value of BucketDesired.
func DecodeDatabase(b []byte) (Database, error) {
	var d Database
	if err := json.Unmarshal(b, &d); err != nil {
		return Database{}, fmt.Errorf("decode database: %w", err)
	}
	fail := func(format string, args ...any) (Database, error) {
		return Database{}, fmt.Errorf("decode database %q: %s", rowjson.Shorten(d.Table.Name), fmt.Sprintf(format, args...))
	}
	if err := d.Table.Validate(); err != nil {
		return fail("%s", err)
	}
	d.Table.Sort()
	if len(d.Logs) != len(d.Table.Shards) {
		return fail("%d logs for %d shards", len(d.Logs), len(d.Table.Shards))
	}
	for _, spec := range []*ServerSpec{&d.ServerSpec, d.Before} {
		if spec == nil {
			continue
		}
		if err := ValidServerSpec(*spec); err != nil {
			return fail("servers: %s", err)
		}
	}
	for _, s := range d.Table.Shards {
		log, ok := d.Log(s.ID)
		if !ok {
			return fail("shard %s has no log", s.ID)
		}
		if err := (LogID{d.Table.Name, s.ID, log.Incarnation}).Validate(); err != nil {
			return fail("%s", err)
		}
	}
	names, ids, volumes := map[string]bool{}, map[int]bool{}, map[string]bool{}
	for _, s := range d.Servers {
		if err := ValidName(s.Name); err != nil {
			return fail("server: %s", err)
		}
		if err := ValidName(s.Volume); err != nil {
			return fail("server %q: volume: %s", s.Name, err)
		}
		if s.ID < 1 || names[s.Name] || ids[s.ID] || volumes[s.Volume] {
			return fail("server %q (id %d, volume %s) is repeated or has no id", s.Name, s.ID, s.Volume)
		}
		names[s.Name], ids[s.ID], volumes[s.Volume] = true, true, true
		for i, id := range s.Shards {
			if _, ok := d.Table.Shard(id); !ok || slices.Contains(s.Shards[:i], id) {
				return fail("server %q: shard %q is unknown or named twice", s.Name, rowjson.Shorten(id))
			}
		}
	}
	return d, nil
}

// TableRoute is the value of a table in BucketRoutes: all that routers and
// shard servers need to serve it. Its epoch is the version of its key. One
// value holds all shards, so that nobody sees half of a change.
type TableRoute struct {
	Table   Table         `json:"table"`
	Servers []TableServer `json:"servers"` // in the order in which people named them
	Shards  []ShardRoute  `json:"shards"`  // in the order of their keys
	Decision
}

// TableServer is a shard server as routers see it.
type TableServer struct {
	Name    string   `json:"name"`
	ID      int      `json:"id"`
	Host    string   `json:"host,omitempty"`
	Address string   `json:"address,omitempty"` // host:port; empty while it cannot be reached
	Shards  []string `json:"shards"`
}

// ShardRoute is one shard: its log, and who keeps it.
type ShardRoute struct {
	Shard     string         `json:"shard"`
	Log       ShardLog       `json:"log"`
	Responder string         `json:"eager,omitempty"` // the server that commits at once and answers writers; empty: none is ready
	Replicas  []ShardReplica `json:"replicas"`        // all that shall keep it, by the id of their server
}

// ShardReplica is one copy of a shard on a server of the route.
type ShardReplica struct {
	Server string `json:"server"`
	Ready  bool   `json:"ready"` // it can be read, and can be copied from
}

// Server finds a server by its name.
func (r *TableRoute) Server(name string) (TableServer, bool) {
	i := slices.IndexFunc(r.Servers, func(s TableServer) bool { return s.Name == name })
	if i < 0 {
		return TableServer{}, false
	}
	return r.Servers[i], true
}

// Shard finds a shard by its id.
func (r *TableRoute) Shard(id string) (ShardRoute, bool) {
	i := slices.IndexFunc(r.Shards, func(s ShardRoute) bool { return s.Shard == id })
	if i < 0 {
		return ShardRoute{}, false
	}
	return r.Shards[i], true
}

// LogID names the log that a shard has now.
func (r *TableRoute) LogID(s ShardRoute) LogID {
	return LogID{Table: r.Table.Name, Shard: s.Shard, Incarnation: s.Log.Incarnation}
}

// Spec is what has to be known of a shard to keep a replica of it.
func (r *TableRoute) Spec(shard string) (ShardSpec, bool) {
	s, ok := r.Table.Shard(shard)
	return ShardSpec{Table: r.Table.Name, Schema: r.Table.Schema, Shard: s}, ok
}

// DecodeTableRoute reads a value of BucketRoutes. In what it returns there is
// one ShardRoute for each shard, in the order of keys, and every replica is on
// a server that is there.
func DecodeTableRoute(b []byte) (TableRoute, error) {
	var r TableRoute
	if err := json.Unmarshal(b, &r); err != nil {
		return TableRoute{}, fmt.Errorf("decode route of a table: %w", err)
	}
	fail := func(format string, args ...any) (TableRoute, error) {
		return TableRoute{}, fmt.Errorf("decode route of table %q: %s", rowjson.Shorten(r.Table.Name), fmt.Sprintf(format, args...))
	}
	if err := r.Table.Validate(); err != nil {
		return fail("%s", err)
	}
	r.Table.Sort()
	if len(r.Shards) != len(r.Table.Shards) {
		return fail("%d routes for %d shards", len(r.Shards), len(r.Table.Shards))
	}
	names := map[string]bool{}
	for _, s := range r.Servers {
		if s.Name == "" || names[s.Name] {
			return fail("server %q is repeated or has no name", s.Name)
		}
		names[s.Name] = true
	}
	for i, s := range r.Shards {
		if s.Shard != r.Table.Shards[i].ID {
			return fail("route %d is of shard %q, want %s", i, rowjson.Shorten(s.Shard), r.Table.Shards[i].ID)
		}
		if err := r.LogID(s).Validate(); err != nil {
			return fail("%s", err)
		}
		seen := map[string]bool{}
		for _, replica := range s.Replicas {
			if !names[replica.Server] || seen[replica.Server] {
				return fail("shard %s: replica on %q, which is no server or named twice", s.Shard, rowjson.Shorten(replica.Server))
			}
			seen[replica.Server] = true
		}
		if s.Responder != "" && !seen[s.Responder] {
			return fail("shard %s: eager %q has no replica", s.Shard, rowjson.Shorten(s.Responder))
		}
	}
	return r, nil
}
