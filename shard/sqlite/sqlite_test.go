package sqlite_test

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"ringway/shard"
	"ringway/shard/sqlite"
	"ringway/shard/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	dirs := map[string]string{}
	storetest.Run(t, func(t *testing.T) shard.Engine {
		if dirs[t.Name()] == "" {
			dirs[t.Name()] = t.TempDir()
		}
		engine, err := sqlite.Open(dirs[t.Name()])
		if err != nil {
			t.Fatal(err)
		}
		return engine
	})
}

func BenchmarkApply(b *testing.B) {
	engine, err := sqlite.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer engine.Close()
	for _, n := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { storetest.Bench(b, engine, n) })
	}
}
