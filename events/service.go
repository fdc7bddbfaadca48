package events

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Algorithms that assign slots.
const (
	Balanced = "balanced"
	Course   = "course"
)

// Sizes that every role agrees on.
const (
	DefaultSlots = 16384
	MaxSlots     = 65536
	CourseSlots  = 512
	CourseK      = 9
	MaxMembers   = 1000  // of one service: a route has to fit one NATS message
	MaxInstances = 2000  // of one host: as many wanted as not wanted any more
	MaxNameBytes = 63    // a name is also a host name on a container network
	NoOwner      = 65535 // in Slots: a slot that nobody owns

	DefaultMinReady = Duration(10 * time.Second)
)

// ServiceSpec is what people write about a service.
type ServiceSpec struct {
	Name       string            `json:"name"                 yaml:"-"`
	Replicas   int               `json:"replicas"             yaml:"replicas"`
	Algorithm  string            `json:"algorithm"            yaml:"algorithm"`
	Slots      int               `json:"slots"                yaml:"slots"`       // size of the slot table
	LoadFactor float64           `json:"load_factor"          yaml:"load_factor"` // bounded load; 0 is off
	Functions  CourseFunctions   `json:"functions,omitzero"   yaml:"functions"`   // course only
	Key        KeySource         `json:"key"                  yaml:"key"`
	Paths      []string          `json:"paths,omitempty"      yaml:"paths"`   // declared paths; none: every path is forwarded
	Health     string            `json:"health"               yaml:"health"`  // path probed by the agent; a 2xx answer is ready
	Command    []string          `json:"command,omitempty"    yaml:"command"` // empty: the sample replica. PORT and RINGWAY_* are in its environment
	Env        map[string]string `json:"env,omitempty"        yaml:"env"`
	Image      string            `json:"image,omitempty"      yaml:"image"`     // containers only; empty: Ringway's own
	Port       int               `json:"port,omitempty"       yaml:"port"`      // containers only: where the image listens; 0: it listens on PORT
	Limits     Limits            `json:"limits,omitzero"      yaml:"limits"`    // containers only
	Timeout    Duration          `json:"timeout"              yaml:"timeout"`   // for a replica's whole answer
	Drain      Duration          `json:"drain"                yaml:"drain"`     // longest wait for in-flight requests on removal
	Grace      Duration          `json:"grace"                yaml:"grace"`     // between SIGTERM and SIGKILL
	MinReady   Duration          `json:"min_ready"            yaml:"min_ready"` // a new release has to be ready for so long before the next replica is replaced
}

// Limits bound what one instance may take. Zero: as the runtime has it.
type Limits struct {
	Memory int64   `json:"memory,omitempty" yaml:"memory"` // bytes, swap included
	CPUs   float64 `json:"cpus,omitempty"   yaml:"cpus"`
	PIDs   int     `json:"pids,omitempty"   yaml:"pids"` // processes and threads
}

// CourseFunctions are the expressions of the course's hash functions; empty
// means the official ones. H is over i (request), Phi over i (server id) and
// j (virtual server, 0..K-1); both are taken modulo the number of slots.
type CourseFunctions struct {
	H   string `json:"h,omitempty"   yaml:"h"`
	Phi string `json:"phi,omitempty" yaml:"phi"`
}

// KeySource is which part of a request decides its slot. From is header,
// cookie, query, path or address; Name is the header's, cookie's or query
// parameter's. A request without the part gets a random key.
type KeySource struct {
	From string `json:"from"           yaml:"from"`
	Name string `json:"name,omitempty" yaml:"name"`
}

// DefaultServiceSpec is the sample service.
func DefaultServiceSpec() ServiceSpec {
	return ServiceSpec{
		Name: "web", Replicas: 3, Algorithm: Balanced, Slots: DefaultSlots, LoadFactor: 1.25,
		Key: KeySource{From: "header", Name: "X-Ringway-Key"}, Paths: []string{"/home", "/heartbeat"},
		Health: "/heartbeat", Timeout: Duration(30 * time.Second), Drain: Duration(30 * time.Second), Grace: Duration(5 * time.Second), MinReady: DefaultMinReady,
	}
}

// MaxReplicas is the most instances that the service's slot table has room for.
func (s *ServiceSpec) MaxReplicas() int {
	if s.Algorithm == Course {
		return s.Slots / CourseK
	}
	return min(MaxMembers, s.Slots)
}

// Validate names the first field that cannot be, and what to write instead.
func (s *ServiceSpec) Validate() error {
	switch {
	case ValidName(s.Name) != nil:
		return ValidName(s.Name)
	case s.Algorithm != Balanced && s.Algorithm != Course:
		return fmt.Errorf("algorithm: %q is unknown; use %s or %s", s.Algorithm, Balanced, Course)
	case s.Slots < 1 || s.Slots > MaxSlots:
		return fmt.Errorf("slots: %d is out of range; use 1 to %d", s.Slots, MaxSlots)
	case s.Replicas < 0:
		return fmt.Errorf("replicas: %d is too few; use 0 (none for now) or more", s.Replicas)
	case s.Replicas > s.MaxReplicas():
		return fmt.Errorf("replicas: %d is too many; %d slots of algorithm %s hold at most %d", s.Replicas, s.Slots, s.Algorithm, s.MaxReplicas())
	case math.IsNaN(s.LoadFactor) || s.LoadFactor != 0 && (s.LoadFactor < 1 || s.LoadFactor > 100):
		return fmt.Errorf("load_factor: %v is out of range; use 0 (off) or 1 to 100", s.LoadFactor)
	case !slices.Contains([]string{"header", "cookie", "query", "path", "address"}, s.Key.From):
		return fmt.Errorf("key.from: %q is unknown; use header, cookie, query, path or address", s.Key.From)
	case s.Key.Name == "" && slices.Contains([]string{"header", "cookie", "query"}, s.Key.From):
		return fmt.Errorf("key.name: missing; name the %s", s.Key.From)
	case !strings.HasPrefix(s.Health, "/"):
		return fmt.Errorf("health: %q is no path; begin it with /", s.Health)
	case s.Timeout <= 0:
		return fmt.Errorf("timeout: %s is too short; use a positive duration like 30s", s.Timeout)
	case s.Drain < 0:
		return fmt.Errorf("drain: %s is negative", s.Drain)
	case s.Grace < 0:
		return fmt.Errorf("grace: %s is negative", s.Grace)
	case s.MinReady < 0:
		return fmt.Errorf("min_ready: %s is negative", s.MinReady)
	}
	if err := validContainer(s.Image, s.Port, s.Limits); err != nil {
		return err
	}
	for _, p := range s.Paths {
		if !strings.HasPrefix(p, "/") {
			return fmt.Errorf("paths: %q is no path; begin it with /", p)
		}
	}
	return nil
}

// MinMemory is the least that a container can be started with.
const MinMemory = 6 << 20

var imageRule = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.:/@-]{0,254}$`)

func validContainer(image string, port int, l Limits) error {
	switch {
	case image != "" && !imageRule.MatchString(image):
		return fmt.Errorf("image: %q is no reference; write it like nginx:1.27 or registry.example/team/app@sha256:…", image)
	case port < 0 || port > 65535:
		return fmt.Errorf("port: %d is out of range; use 1 to 65535, or leave it out if the program obeys PORT", port)
	case l.Memory != 0 && l.Memory < MinMemory:
		return fmt.Errorf("limits.memory: %d bytes are too few; use at least %d (6MiB)", l.Memory, MinMemory)
	case math.IsNaN(l.CPUs) || l.CPUs != 0 && (l.CPUs < 0.01 || l.CPUs > 4096):
		return fmt.Errorf("limits.cpus: %v is out of range; use 0.01 to 4096", l.CPUs)
	case l.PIDs < 0:
		return fmt.Errorf("limits.pids: %d is negative; use at least 1", l.PIDs)
	}
	return nil
}

var nameRule = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}$`)

// ValidName accepts what a container may be called, if it can also be a host
// name and a key of a bucket: those have no empty part between dots.
func ValidName(name string) error {
	if nameRule.MatchString(name) && !strings.Contains(name, "..") && !strings.HasSuffix(name, ".") {
		return nil
	}
	shown := name
	if len(shown) > MaxNameBytes {
		shown = shown[:MaxNameBytes] + "…"
	}
	return fmt.Errorf("name %q: use 2 to %d letters, digits, '_', '.' or '-', beginning with a letter or digit, without '..' or a '.' at the end", shown, MaxNameBytes)
}

// Service is the value of a service in BucketDesired: what people asked for
// and which replicas answer for it.
type Service struct {
	Spec       ServiceSpec  `json:"spec"`
	Replicas   []Replica    `json:"replicas"`             // len is what people asked for
	ConfigHash string       `json:"configured,omitempty"` // digest of the configuration that was followed last
	Given      time.Time    `json:"given,omitzero"`       // when that configuration was given
	Asked      *int         `json:"asked,omitempty"`      // the number of replicas that it asks for, if it is a file's
	Answered   []Answered   `json:"answered,omitempty"`   // the newest requests, so that a repeated one changes nothing
	Before     *ServiceSpec `json:"before,omitempty"`     // what was good before Spec
	Proven     bool         `json:"proven,omitempty"`     // Spec is good: a replica that runs it was ready for MinReady
	Stuck      string       `json:"stuck,omitempty"`      // why the last change is not rolled out any further: replicas go back to Before
	Decision
}

// Replica is one wanted instance. ID is the smallest positive integer that was
// free when it joined. A replacement inherits it, and Request. Next is the
// instance that takes its place as soon as that is ready.
type Replica struct {
	Name    string `json:"name"`
	ID      int    `json:"id"`
	Request string `json:"request,omitempty"` // that added it; unlike name and id, never used again
	Next    string `json:"next,omitempty"`
}

// MaxRequestBytes is the longest id of a request: every replica that it added
// keeps it.
const MaxRequestBytes = 128

// Answered remembers one request that changed the service.
type Answered struct {
	Request string   `json:"request"`
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// DecodeService reads a value of BucketDesired.
func DecodeService(b []byte) (Service, error) {
	s := Service{Spec: ServiceSpec{MinReady: DefaultMinReady}} // of values that are older than the setting
	if err := json.Unmarshal(b, &s); err != nil {
		return Service{}, fmt.Errorf("decode service: %w", err)
	}
	if err := s.Validate(); err != nil {
		return Service{}, fmt.Errorf("decode service %q: %w", s.Spec.Name, err)
	}
	return s, nil
}

// Validate is for both ends: who accepts a change, and who reads it after a restart.
func (s *Service) Validate() error {
	if err := s.Spec.Validate(); err != nil {
		return err
	}
	if s.Before != nil {
		if err := s.Before.Validate(); err != nil {
			return fmt.Errorf("before: %w", err)
		}
	}
	names, ids := map[string]bool{}, map[int]bool{}
	for _, r := range s.Replicas {
		if err := ValidName(r.Name); err != nil {
			return err
		}
		if r.ID < 1 || names[r.Name] || ids[r.ID] {
			return fmt.Errorf("replica %q (id %d) is repeated or has no id", r.Name, r.ID)
		}
		names[r.Name], ids[r.ID] = true, true
		if r.Next != "" && (ValidName(r.Next) != nil || names[r.Next]) {
			return fmt.Errorf("%q cannot follow replica %q", r.Next, r.Name)
		}
		names[r.Next] = true
	}
	return nil
}
