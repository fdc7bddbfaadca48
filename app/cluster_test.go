package app_test

import (
	"testing"

	"ringway/app"
	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

// The marker of `ringway verify` is a batch that every applier accepts, in the
// log that was meant and no other.
func TestDial_MarksALog(t *testing.T) {
	url := testkit.StartBus(t).URL()
	c, err := app.Wiring("1.2.3").Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn := testkit.Connect(t, url)
	log := events.LogID{Table: "StudT", Shard: "sh1", Incarnation: "k1"}
	if _, err := conn.CreateLog(t.Context(), log, 1); err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= 2; seq++ {
		id, got, err := c.Mark(t.Context(), log)
		if err != nil || got != seq {
			t.Fatalf("seq %d, %v; want %d", got, err, seq)
		}
		_, data, err := conn.Log(log).Get(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := shardlog.DecodeBatch(data)
		if err != nil || batch.ID != id || batch.Table != "StudT" || batch.Shard != "sh1" || len(batch.Ops) != 1 || batch.Ops[0].Kind != shardlog.OpDigest {
			t.Errorf("%v: %s", err, data)
		}
	}
	log.Incarnation = "k2"
	if _, _, err := c.Mark(t.Context(), log); err == nil {
		t.Error("a marker went into the log of another life")
	}
}
