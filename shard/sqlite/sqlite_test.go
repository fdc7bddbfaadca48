package sqlite

import (
	"fmt"
	"testing"

	"ringway/shard/storage"
	"ringway/shard/storetest"
)

func TestConformance(t *testing.T) {
	dirs := map[string]string{}
	storetest.Run(t, func(t *testing.T) storage.Engine {
		if dirs[t.Name()] == "" {
			dirs[t.Name()] = t.TempDir()
		}
		engine, err := Open(dirs[t.Name()])
		if err != nil {
			t.Fatal(err)
		}
		return engine
	})
}

func BenchmarkApply(b *testing.B) {
	engine, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer engine.Close()
	for _, n := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { storetest.Bench(b, engine, n) })
	}
}
