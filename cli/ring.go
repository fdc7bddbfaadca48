package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ringway/cli/client"
	"ringway/cli/console"
	"ringway/events"
	"ringway/router/ring"
	"ringway/router/ring/formula"
)

// ringView is what `ringway ring -o json` prints for one service.
type ringView struct {
	Service   string        `json:"service,omitempty"`
	Epoch     *events.Epoch `json:"epoch"` // null: computed, not served
	Algorithm string        `json:"algorithm"`
	Slots     int           `json:"slots"`
	Members   []ringMember  `json:"members"`
	Owners    []*string     `json:"owners,omitempty"` // of each slot; null: nobody
}

// ringMember is one member. Share is the fraction of requests, 0 to 1, that
// have it as their first choice: of slots for balanced, of the 900,000 request
// ids for course.
type ringMember struct {
	Name     string  `json:"name"`
	ID       int     `json:"id"`
	Slots    int     `json:"slots"`
	Share    float64 `json:"share"`
	Draining bool    `json:"draining,omitempty"`
}

// ringFlags are the flags of `ringway ring`.
type ringFlags struct {
	cluster   client.Flags
	owners    bool
	offline   bool
	service   string
	algorithm string
	members   []string
	size      int
	functions string
}

func (a *app) ringCommand() *cobra.Command {
	var f ringFlags
	cmd := &cobra.Command{
		Use:   "ring",
		Short: "Show who owns which part of the requests",
		Long: `Show who owns which part of the requests: the slot table that the routers obey,
read from the bus (no controller is needed), or one computed with --offline.

SHARE is the part of all requests that have the member as their first choice. It
is in percent in the table and a fraction from 0 to 1 in JSON. For balanced it
is the part of the slots; for course the part of the 900,000 request ids, which
H does not spread evenly over the slots. SLOTS counts the entries of the
compiled table that name the member.`,
		Example: `  ringway ring
  ringway ring --slots -o json | jq '.owners[81]'
  ringway ring --offline --algorithm course --members 1,2,3
  ringway ring --offline --algorithm course --members 1,2,3 --functions linear
  ringway ring --offline --members a,b,c,d --size 4096`,
		Args: console.NoArgs,
	}
	f.cluster.Add(cmd, client.LeaderTimeout)
	cmd.Flags().StringVar(&f.service, "service", "", "service (default: the only one)")
	cmd.Flags().BoolVar(&f.owners, "slots", false, "show the owner of every slot")
	cmd.Flags().BoolVar(&f.offline, "offline", false, "compute a table without a cluster")
	cmd.Flags().StringVar(&f.algorithm, "algorithm", events.Balanced, "offline: balanced or course")
	cmd.Flags().StringSliceVar(&f.members, "members", nil, "offline: names of the members; for course their ids")
	cmd.Flags().IntVar(&f.size, "size", 0, "offline: number of slots (default 16384, for course 512)")
	cmd.Flags().StringVar(&f.functions, "functions", "official", "offline: hash functions of course, "+functionNames())
	output := console.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		views, err := a.ringViews(cmd, &f)
		if err != nil {
			return err
		}
		for i, v := range views {
			if *output == console.AsJSON {
				if err := console.WriteJSON(a.Out, v); err != nil {
					return err
				}
				continue
			}
			if i > 0 {
				fmt.Fprintln(a.Out)
			}
			a.printRing(v)
		}
		return nil
	}
	return cmd
}

func (a *app) ringViews(cmd *cobra.Command, f *ringFlags) (views []ringView, err error) {
	if f.offline {
		switch {
		case cmd.Flags().Changed("size") && f.size < 1:
			return nil, console.Usage("--size %d: use at least 1", f.size)
		case cmd.Flags().Changed("functions") && f.algorithm != events.Course:
			return nil, console.Usage("--functions are those of course; add --algorithm course")
		}
		v, err := f.compute()
		return []ringView{v}, err
	}
	for _, name := range []string{"algorithm", "members", "size", "functions"} {
		if cmd.Flags().Changed(name) {
			return nil, console.Usage("--%s is for a computed table; add --offline", name)
		}
	}
	return views, a.With(cmd, &f.cluster, func(ctx context.Context, c client.Cluster) error {
		reading, done := context.WithTimeout(ctx, f.cluster.Timeout)
		defer done()
		entries, err := c.Routes(reading)
		if err != nil {
			return fmt.Errorf("read the routes: %w", err)
		}
		for _, e := range entries {
			if e.Deleted() || !strings.HasPrefix(e.Key, events.ServiceKey("")) || f.service != "" && e.Key != events.ServiceKey(f.service) {
				continue
			}
			v, err := viewRoute(e, f.owners)
			if err != nil {
				return err
			}
			views = append(views, v)
		}
		switch {
		case len(views) > 0:
			return nil
		case f.service != "":
			return fmt.Errorf("no route for service %q; see the services with 'ringway status'", f.service)
		}
		return fmt.Errorf("no route yet: no replica has become ready; see 'ringway ps'")
	})
}

// viewRoute shows the route that routers use.
func viewRoute(e events.Entry, owners bool) (ringView, error) {
	r, err := events.DecodeRoute(e.Value)
	if err != nil {
		return ringView{}, err
	}
	v := ringView{Service: r.Service, Epoch: &e.Version, Algorithm: r.Algorithm, Slots: len(r.Slots)}
	for _, m := range r.Members {
		v.Members = append(v.Members, ringMember{Name: m.Name, ID: m.ID, Draining: m.Draining})
	}
	return v, v.fill(r.Slots, r.Functions, owners)
}

// compute builds a table as a controller would for a new service.
func (f *ringFlags) compute() (ringView, error) {
	if len(f.members) == 0 {
		return ringView{}, console.Usage("--offline needs --members, like --members 1,2,3")
	}
	v := ringView{Algorithm: f.algorithm, Slots: f.size}
	members := make([]ring.Member, len(f.members))
	for i, name := range f.members {
		name = strings.TrimSpace(name)
		id := i + 1
		if f.algorithm == events.Course {
			var err error
			if id, err = strconv.Atoi(name); err != nil {
				return v, console.Usage("--members: %q is no id; for course use ids, like 1,2,3", name)
			}
		}
		members[i] = ring.Member{Name: name, ID: id, Weight: 1}
		v.Members = append(v.Members, ringMember{Name: name, ID: id})
	}
	var table *ring.Table
	var fn events.CourseFunctions
	var err error
	switch f.algorithm {
	case events.Balanced:
		v.Slots = cmp.Or(v.Slots, events.DefaultSlots)
		table, err = ring.Balanced(v.Slots, members, nil)
	case events.Course:
		v.Slots = cmp.Or(v.Slots, events.CourseSlots)
		set, ok := formula.Named(f.functions)
		if !ok {
			return v, console.Usage("--functions %q is unknown; use %s", f.functions, functionNames())
		}
		fn = events.CourseFunctions{H: set.H, Phi: set.Phi}
		var compiled ring.Functions
		if compiled, err = formula.Compile(fn.H, fn.Phi, v.Slots, events.CourseK); err == nil {
			table, err = ring.Course(v.Slots, events.CourseK, members, compiled)
		}
	default:
		err = fmt.Errorf("--algorithm %q is unknown; use balanced or course", f.algorithm)
	}
	if err != nil {
		return v, console.Exit(console.ExitUsage, err)
	}
	return v, v.fill(table.Slots(), fn, f.owners)
}

// fill counts slots and shares.
func (v *ringView) fill(slots []uint16, fn events.CourseFunctions, owners bool) error {
	if v.Members == nil {
		v.Members = []ringMember{}
	}
	for _, owner := range slots {
		if owner != events.NoOwner {
			v.Members[owner].Slots++
		}
		if !owners {
			continue
		}
		if owner == events.NoOwner {
			v.Owners = append(v.Owners, nil)
		} else {
			v.Owners = append(v.Owners, &v.Members[owner].Name)
		}
	}
	if len(slots) == 0 {
		return nil
	}
	if v.Algorithm != events.Course {
		for i := range v.Members {
			v.Members[i].Share = float64(v.Members[i].Slots) / float64(len(slots))
		}
		return nil
	}
	compiled, err := formula.Compile(fn.H, fn.Phi, len(slots), events.CourseK)
	if err != nil {
		return err
	}
	requests := ring.Requests(len(slots), compiled.H)
	counts := make([]int, len(v.Members))
	for _, slot := range requests {
		if owner := slots[slot]; owner != events.NoOwner {
			counts[owner]++
		}
	}
	for i := range v.Members {
		v.Members[i].Share = float64(counts[i]) / float64(len(requests))
	}
	return nil
}

func (a *app) printRing(v ringView) {
	head := fmt.Sprintf("%s, %d slots", v.Algorithm, v.Slots)
	if v.Epoch != nil {
		head = fmt.Sprintf("service %s: %s, epoch %s", console.Printable(v.Service), head, v.Epoch)
	}
	fmt.Fprintf(a.Out, "%s\n\n", head)
	var rows [][]any
	for _, m := range v.Members {
		state := ""
		if m.Draining {
			state = "draining"
		}
		rows = append(rows, []any{m.Name, m.ID, m.Slots, fmt.Sprintf("%.2f%%", 100*m.Share), state})
	}
	console.WriteTable(a.Out, []string{"member", "id", "slots", "share", ""}, rows, 2, 3, 4)
	if v.Owners == nil {
		return
	}
	fmt.Fprintln(a.Out)
	rows = nil
	for slot := 0; slot < len(v.Owners); {
		end := slot
		for end+1 < len(v.Owners) && same(v.Owners[end+1], v.Owners[slot]) {
			end++
		}
		owner := "-"
		if o := v.Owners[slot]; o != nil {
			owner = *o
		}
		span := strconv.Itoa(slot)
		if end > slot {
			span += "-" + strconv.Itoa(end)
		}
		rows = append(rows, []any{span, owner})
		slot = end + 1
	}
	console.WriteTable(a.Out, []string{"slot", "owner"}, rows)
}

func same(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

func functionNames() string {
	var names []string
	for _, s := range formula.Sets() {
		names = append(names, s.Name)
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}
