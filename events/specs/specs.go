// Package specs stores an assignment. It is stored as it is, as every release
// reads it, unless its specifications take more than inlineBytes in all: then
// each is stored once, under its hash, and instances refer to it.
package specs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// inlineBytes is how much of specifications is repeated.
const inlineBytes = 64 << 10

// stored is an assignment whose instances are of type I.
type stored[I, S any] struct {
	Host      string       `json:"host"`
	Specs     map[string]S `json:"specs,omitempty"` // by their hash, without name, id and volume
	Instances []I          `json:"instances"`
}

// reference is an instance whose specification is in specs. Its key there takes
// the place of the environment: an older release, which expects an object,
// refuses the assignment and goes on with the one before, where it would
// otherwise run instances without their environment.
type reference struct {
	Name   string `json:"name"`
	ID     int    `json:"id"`
	Volume string `json:"volume,omitempty"`
	Env    string `json:"env"`
}

// Marshal writes an assignment. S is a struct with the fields Name, ID and Volume.
func Marshal[S, D any](host string, instances []S, decision D) ([]byte, error) {
	// Equal specifications are found before they are written: they are large.
	var distinct []S
	var sizes []int
	of := make([]int, len(instances)) // of each instance: its specification in distinct
	total := 0
	for n, i := range instances {
		shared := i
		setOwn(&shared, reference{})
		at := slices.IndexFunc(distinct, func(d S) bool { return reflect.DeepEqual(d, shared) })
		if at < 0 {
			b, err := json.Marshal(shared)
			if err != nil {
				return nil, err
			}
			at, distinct, sizes = len(distinct), append(distinct, shared), append(sizes, len(b))
		}
		of[n] = at
		total += sizes[at]
	}
	if total <= inlineBytes {
		return join(stored[S, S]{Host: host, Instances: instances}, decision)
	}
	to := stored[reference, S]{Host: host, Specs: map[string]S{}}
	keys := make([]string, len(distinct))
	for n, d := range distinct {
		b, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		keys[n] = hex.EncodeToString(sum[:8])
		to.Specs[keys[n]] = d
	}
	for n, i := range instances {
		r := own(&i)
		r.Env = keys[of[n]]
		to.Instances = append(to.Instances, r)
	}
	return join(to, decision)
}

// join writes one object with the fields of both.
func join(a, b any) ([]byte, error) {
	first, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	second, err := json.Marshal(b)
	if err != nil || len(second) <= len("{}") {
		return first, err
	}
	return append(append(first[:len(first)-1], ','), second[1:]...), nil
}

// Unmarshal reads an assignment of valid names. No two instances may have one.
func Unmarshal[S, D any](b []byte, validName func(string) error, host *string, instances *[]S, decision *D) error {
	var from stored[json.RawMessage, S]
	if err := json.Unmarshal(b, &from); err != nil {
		return err
	}
	if err := json.Unmarshal(b, decision); err != nil {
		return err
	}
	if err := validName(from.Host); err != nil {
		return fmt.Errorf("host: %w", err)
	}
	*host, *instances = from.Host, nil
	if from.Instances != nil {
		*instances = make([]S, len(from.Instances))
	}
	seen := map[string]bool{}
	for n, raw := range from.Instances {
		i := &(*instances)[n]
		if from.Specs == nil {
			if err := json.Unmarshal(raw, i); err != nil {
				return err
			}
		} else {
			var r reference
			if err := json.Unmarshal(raw, &r); err != nil {
				return err
			}
			spec, ok := from.Specs[r.Env]
			if !ok {
				return fmt.Errorf("instance %q: there is no specification %q", r.Name, r.Env)
			}
			*i = spec
			setOwn(i, r)
		}
		name := own(i).Name
		if err := validName(name); err != nil {
			return fmt.Errorf("of %q: %w", from.Host, err)
		}
		if seen[name] {
			return fmt.Errorf("of %q: instance %q is named twice", from.Host, name)
		}
		seen[name] = true
	}
	return nil
}

// own is what an instance does not share.
func own[S any](i *S) reference {
	v := reflect.ValueOf(i).Elem()
	return reference{Name: v.FieldByName("Name").String(), ID: int(v.FieldByName("ID").Int()), Volume: v.FieldByName("Volume").String()}
}

func setOwn[S any](i *S, r reference) {
	v := reflect.ValueOf(i).Elem()
	v.FieldByName("Name").SetString(r.Name)
	v.FieldByName("ID").SetInt(int64(r.ID))
	v.FieldByName("Volume").SetString(r.Volume)
}
