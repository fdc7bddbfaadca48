package check

import (
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// missing is the value of a register that was never written.
const missing = ""

type input struct {
	read  bool
	value string
}

// register is one key: what is read is what was written last.
var register = porcupine.Model{
	Init: func() any { return missing },
	Step: func(state, in, out any) (bool, any) {
		if in := in.(input); !in.read {
			return true, in.value
		}
		return out.(string) == state.(string), state
	},
	DescribeOperation: func(in, out any) string {
		if in := in.(input); !in.read {
			return "write " + in.value
		}
		return fmt.Sprintf("read %v", out)
	},
}

// Linearizable judges reads and writes of registers, one a key: there is an
// order of all operations in which each takes effect between its call and its
// return, and each read gives what was written last. An empty value is read
// where nothing is. No two writes of a key have the same value. Writes with an
// unknown outcome may take effect once after their call, or never; reads
// without an answer prove nothing. A search that takes longer than patience for
// one key is reported as a fault: the history is too long to judge.
func Linearizable(ops []Op, patience time.Duration) (faults []Fault) {
	byKey := map[int64][]Op{}
	for _, op := range ops {
		byKey[op.Key] = append(byKey[op.Key], op)
	}
	for key, ops := range byKey {
		history := operations(ops)
		switch porcupine.CheckOperationsTimeout(register, history, patience) {
		case porcupine.Ok:
		case porcupine.Illegal:
			faults = append(faults, Fault{NotLinear, key, "all clients", fmt.Sprintf("no order explains %d operations", len(history))})
		default:
			faults = append(faults, Fault{NotLinear, key, "all clients", fmt.Sprintf("%d operations could not be judged within %s", len(history), patience)})
		}
	}
	return faults
}

func operations(ops []Op) (history []porcupine.Operation) {
	read := map[string]bool{}
	for _, op := range ops {
		if op.Read && op.Outcome == Acknowledged {
			read[op.Value] = true
		}
	}
	clients := map[string]int{}
	for _, op := range ops {
		end := int64(op.Return)
		switch {
		case op.Read && op.Outcome != Acknowledged, op.Outcome == Rejected:
			continue // who read what was rejected finds no write that explains it
		case op.Outcome == Unknown && !read[op.Value]:
			continue // as good as never done, and the search stays short
		case op.Outcome == Unknown:
			end = math.MaxInt64
		}
		if _, ok := clients[op.Client]; !ok {
			clients[op.Client] = len(clients)
		}
		history = append(history, porcupine.Operation{
			ClientId: clients[op.Client], Input: input{op.Read, op.Value}, Call: int64(op.Call), Output: op.Value, Return: end,
		})
	}
	return history
}
