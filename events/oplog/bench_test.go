package oplog_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"ringway/events/oplog"
	"ringway/internal/testkit"
)

// BenchmarkDo measures acknowledged ops: fsynced, read back and answered.
func BenchmarkDo(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			srv := testkit.StartBusProcess(b)
			c := testkit.Connect(b, srv.URL())
			createLog(b, c, theLog)
			a := apply(b, testkit.Connect(b, srv.URL()), theLog)
			w, stop := run(b, oplog.DefaultConfig(), c, c, a)
			defer stop()
			b.ReportAllocs()
			b.ResetTimer()
			var next atomic.Int64
			var wait sync.WaitGroup
			for range callers {
				wait.Go(func() {
					for {
						key := next.Add(1)
						if key > int64(b.N) {
							return
						}
						if _, err := w.Do(b.Context(), theLog, insert(key)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wait.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
			b.ReportMetric(float64(b.N)/float64(a.batches), "ops/batch")
			b.ReportMetric(float64(a.batches)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}
