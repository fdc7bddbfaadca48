package process

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"ringway/agent"
	"ringway/events"
	"ringway/internal/statedir"
)

// record is what a successor needs to know of one instance. Without a pid it
// is an intent: the process may or may not have been started.
type record struct {
	Spec    events.InstanceSpec `json:"spec"`
	Token   events.Token        `json:"token,omitzero"`
	Mark    string              `json:"mark"` // random, in the environment of the process
	IP      string              `json:"ip"`
	Port    int                 `json:"port"`
	Boot    string              `json:"boot"` // of the machine
	PID     int                 `json:"pid,omitempty"`
	Ticks   uint64              `json:"ticks,omitempty"` // start of the process since boot
	Started time.Time           `json:"started"`
	Dead    bool                `json:"dead,omitempty"`
	Detail  string              `json:"detail,omitempty"` // how it ended
}

func newRecord(cfg Config, spec events.InstanceSpec, token events.Token, port int, boot string) record {
	return record{
		Spec: spec, Token: token, Mark: rand.Text(), IP: cfg.IP, Port: port, Boot: boot,
		Started: time.Now().UTC().Round(0),
	}
}

func decodeRecord(b []byte) (record, error) {
	var rec record
	if err := json.Unmarshal(b, &rec); err != nil {
		return record{}, err
	}
	if err := events.ValidName(rec.Spec.Name); err != nil {
		return record{}, err
	}
	if rec.Mark == "" || rec.PID < 0 || rec.PID == 1 {
		return record{}, fmt.Errorf("mark %q, pid %d: no record of ours", rec.Mark, rec.PID)
	}
	return rec, nil
}

func (rec record) instance() agent.Instance {
	return agent.Instance{
		Spec: rec.Spec, Token: rec.Token, Address: net.JoinHostPort(rec.IP, strconv.Itoa(rec.Port)),
		PID: rec.PID, Started: rec.Started, Running: !rec.Dead, Detail: rec.Detail,
	}
}

// leavesMore: its end may leave processes that it started.
func (rec record) leavesMore() bool {
	return len(rec.Spec.Command) > 0 || rec.Spec.Kind == events.KindShard
}

func (cfg Config) volumePath(id string) string {
	return filepath.Join(cfg.Dir, "volumes", id)
}

func (r *Runtime) recordPath(name string) string {
	return filepath.Join(r.cfg.Dir, "instances", name+".json")
}

func (r *Runtime) logPath(name string) string {
	return filepath.Join(r.cfg.Dir, "logs", name+".log")
}

func (r *Runtime) write(rec record) error {
	b, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := statedir.WriteFile(r.recordPath(rec.Spec.Name), append(b, '\n')); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}
