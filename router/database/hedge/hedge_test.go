package hedge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Each candidate is "<name> <milliseconds until it answers> <its answer, or !>".
func TestFirst(t *testing.T) {
	f := func(want, slow, failed, dropped string, took time.Duration, candidates ...string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			var slows, fails, drops []string
			name := func(c string) string { return strings.Fields(c)[0] }
			answer, from, err := First(t.Context(), candidates, Policy[string, string]{
				After: 100 * time.Millisecond,
				Ask: func(ctx context.Context, c string) (string, error) {
					var wait int
					var who, answer string
					if _, err := fmt.Sscan(c, &who, &wait, &answer); err != nil {
						return "", err
					}
					select {
					case <-time.After(time.Duration(wait) * time.Millisecond):
					case <-ctx.Done():
						if answer != "late" {
							return "", ctx.Err()
						}
					}
					if answer == "!" {
						return "", errors.New("no " + who)
					}
					return answer, nil
				},
				Slow:   func(c string) { slows = append(slows, name(c)) },
				Failed: func(c string, _ error) { fails = append(fails, name(c)) },
				Drop:   func(a string) { drops = append(drops, a) },
			})
			got := answer
			if err != nil {
				got = err.Error()
			} else if got += " of " + name(from); time.Since(begun) != took {
				t.Errorf("took %s, want %s", time.Since(begun), took)
			}
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if got := fmt.Sprint(slows, fails, drops); got != fmt.Sprintf("[%s] [%s] [%s]", slow, failed, dropped) {
				t.Errorf("slow, failed and dropped are %s", got)
			}
		})
	}
	const ms = time.Millisecond
	f("nobody can be asked", "", "", "", 0)
	f("x of a", "", "", "", 99*ms, "a 99 x", "b 0 y")
	f("y of b", "", "a", "", 5*ms, "a 5 !", "b 0 y")
	f("no b", "", "a b", "", 0, "a 5 !", "b 0 !")
	f("y of b", "a", "", "", 101*ms, "a 500 x", "b 1 y", "c 0 z")
	f("x of a", "a", "b", "", 120*ms, "a 120 x", "b 5 !")
	f("z of c", "a", "b", "late", 106*ms, "a 500 late", "b 5 !", "c 1 z")
	f("x of a", "", "", "", 500*ms, "a 500 x") // nobody else can be asked
}

func TestFirst_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		_, _, err := First(ctx, []int{1, 2}, Policy[int, int]{After: time.Millisecond, Ask: func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
