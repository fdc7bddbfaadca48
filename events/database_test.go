package events_test

import (
	"testing"

	"ringway/events"
	"ringway/events/shardlog"
)

func sampleDatabase() events.Database {
	return events.Database{
		Table: students,
		ServerSpec: events.ServerSpec{
			Engine: "auto", Env: map[string]string{"LEVEL": "2"}, Image: "ringway-shard:2", Limits: events.Limits{Memory: 1 << 30},
		},
		Before: &events.ServerSpec{Engine: "auto"}, ServersConfigHash: "d1", Stuck: "Server0 did not get ready",
		Logs: []events.ShardLog{
			{Shard: "sh1", Incarnation: "LIFE1", Made: true},
			{Shard: "sh2", Incarnation: "LIFE2", Origin: &events.Position{Incarnation: "LIFE1", Seq: 41, Batch: "B41"}},
		},
		Servers: []events.ShardServer{
			{Name: "Server0", ID: 1, Shards: []string{"sh1", "sh2"}, Volume: "vol-a", Host: "h1", Behind: true, Renewal: &events.Renewal{Why: "another image is configured", Stopped: true}},
			{Name: "Server58127", ID: 2, Request: "r2", Shards: []string{"sh2"}, Volume: "vol-b", Was: &events.Volume{ID: "vol-c", Host: "h2"}},
		},
		Answered: []events.Answered{{Request: "r1", Added: []string{"Server0"}}},
		Decision: decision,
	}
}

func sampleTableRoute() events.TableRoute {
	db := sampleDatabase()
	return events.TableRoute{
		Table: students,
		Servers: []events.TableServer{
			{Name: "Server0", ID: 1, Host: "h1", Address: "127.0.0.1:4001", Shards: []string{"sh1", "sh2"}},
			{Name: "Server58127", ID: 2, Shards: []string{"sh2"}},
		},
		Shards: []events.ShardRoute{
			{Shard: "sh1", Log: db.Logs[0], Responder: "Server0", Replicas: []events.ShardReplica{{Server: "Server0", Ready: true}}},
			{Shard: "sh2", Log: db.Logs[1], Replicas: []events.ShardReplica{{Server: "Server0"}, {Server: "Server58127"}}},
		},
		Decision: decision,
	}
}

func sampleShardHeartbeat() events.ShardHeartbeat {
	return events.ShardHeartbeat{
		Server: "Server0", Incarnation: "boot-1", Sent: noon, Engine: "MariaDB 10.11.14", Volume: "vol-a",
		Epochs: map[string]events.Epoch{"StudT": epoch},
		Replicas: []events.ReplicaStatus{{
			Table: "StudT", Shard: "sh1", State: events.ReplicaReady,
			Applied: events.Position{Incarnation: "LIFE1", Seq: 41, Batch: "B41"}, Durable: events.Position{Incarnation: "LIFE1", Seq: 40, Batch: "B40"},
		}},
	}
}

func sampleDigest() shardlog.Digest {
	return shardlog.Digest{Server: "Server0", Table: "StudT", Shard: "sh1", Batch: "B42", State: shardlog.StateDigest{
		Position: events.Position{Incarnation: "LIFE1", Seq: 42, Batch: "B42"}, Rows: 3, Data: "d", Results: "r", Idempotency: "i",
	}}
}

func TestGolden_Tables(t *testing.T) {
	checkGolden(t, "database", sampleDatabase(), events.DecodeDatabase)
	checkGolden(t, "table_route", sampleTableRoute(), events.DecodeTableRoute)
	checkGolden(t, "shard_beat", sampleShardHeartbeat(), events.DecodeShardHeartbeat)
	checkGolden(t, "digest", sampleDigest(), shardlog.DecodeDigest)
	checkGolden(t, "init_request", events.InitRequest{
		ID: "r1", N: 2, Table: students, Servers: []events.Placement{{Name: "Server0", Shards: []string{"sh1"}}}, Replicas: 3, Engine: "auto",
	}, decodeJSON[events.InitRequest])
	checkGolden(t, "servers_request", events.ServersRequest{
		ID: "r1", Table: "StudT", N: 1, Servers: []events.Placement{{Shards: []string{"sh3"}}},
		NewShards: []events.Shard{{ID: "sh3", Low: 8192, Size: 4096}}, Names: []string{"Server0"},
	}, decodeJSON[events.ServersRequest])
	checkGolden(t, "servers_reply", events.ServersReply{Table: "StudT", N: 2, Added: []string{"Server0"}, Removed: []string{"Server1"}, Epoch: epoch}, decodeJSON[events.ServersReply])
	checkGolden(t, "recover_request", events.RecoverRequest{ID: "r1", Table: "StudT", Shard: "sh1", Force: true}, decodeJSON[events.RecoverRequest])
	checkGolden(t, "recover_reply", events.RecoverReply{Table: "StudT", Shard: "sh1", Log: sampleDatabase().Logs[1], Server: "Server0", Epoch: epoch}, decodeJSON[events.RecoverReply])
}

func FuzzDecodeDatabase(f *testing.F)   { stable(f, events.DecodeDatabase, sampleDatabase()) }
func FuzzDecodeTableRoute(f *testing.F) { stable(f, events.DecodeTableRoute, sampleTableRoute()) }
func FuzzDecodeShardHeartbeat(f *testing.F) {
	stable(f, events.DecodeShardHeartbeat, sampleShardHeartbeat())
}
func FuzzDecodeDigest(f *testing.F) { stable(f, shardlog.DecodeDigest, sampleDigest()) }

func TestDecodeDatabase_Refuses(t *testing.T) {
	f := func(want string, change func(*events.Database)) {
		t.Helper()
		d := sampleDatabase()
		change(&d)
		_, err := events.DecodeDatabase(encoded(t, d))
		refused(t, err, want)
	}
	f("1 logs for 2 shards", func(d *events.Database) { d.Logs = d.Logs[:1] })
	f("sh2 has no log", func(d *events.Database) { d.Logs[1].Shard = "sh1" })
	f("incarnation", func(d *events.Database) { d.Logs[0].Incarnation = "" })
	f(`name ""`, func(d *events.Database) { d.Servers[0].Name = "" })
	f("volume", func(d *events.Database) { d.Servers[0].Volume = "../up" })
	f("repeated", func(d *events.Database) { d.Servers[1].Volume = "vol-a" })
	f("repeated", func(d *events.Database) { d.Servers[1].Name = "Server0" })
	f("no id", func(d *events.Database) { d.Servers[1].ID = 0 })
	f(`shard "sh9"`, func(d *events.Database) { d.Servers[1].Shards = []string{"sh9"} })
	f("named twice", func(d *events.Database) { d.Servers[1].Shards = []string{"sh1", "sh1"} })
	f("table", func(d *events.Database) { d.Table.Name = "a.b" })
	_, err := events.DecodeDatabase([]byte("x"))
	refused(t, err, "decode database")
}

func TestDecodeTableRoute_Refuses(t *testing.T) {
	f := func(want string, change func(*events.TableRoute)) {
		t.Helper()
		r := sampleTableRoute()
		change(&r)
		_, err := events.DecodeTableRoute(encoded(t, r))
		refused(t, err, want)
	}
	f("1 routes for 2 shards", func(r *events.TableRoute) { r.Shards = r.Shards[:1] })
	f("want sh2", func(r *events.TableRoute) { r.Shards[1].Shard = "sh1" })
	f("incarnation", func(r *events.TableRoute) { r.Shards[1].Log.Incarnation = "" })
	f("repeated", func(r *events.TableRoute) { r.Servers[1].Name = "Server0" })
	f("no server", func(r *events.TableRoute) { r.Shards[0].Replicas[0].Server = "Server9" })
	f("named twice", func(r *events.TableRoute) { r.Shards[1].Replicas[1].Server = "Server0" })
	f("no replica", func(r *events.TableRoute) { r.Shards[0].Responder = "Server58127" })
	_, err := events.DecodeTableRoute([]byte("x"))
	refused(t, err, "decode route of a table")
}
