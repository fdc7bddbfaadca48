package leader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ringway/events"
)

// copied is the bucket of what people asked for, which nobody but they can tell
// anew. Each value is stored in a second bucket as well, so that a damaged
// record, or all that an unclean bus cuts off behind it, is not forgotten. The
// copy is written behind the value, and deleted before it: what is only in
// the copy was lost. Its writes are compared and set too, against what was read at
// the takeover, so that none of a former leader comes late.
type copied struct {
	Bucket
	copies   Bucket
	versions map[string]events.Version // of the copies
}

// verbRestored is the event of a bucket that was damaged, and has what was lost again.
const verbRestored = "restored"

// restored is a key whose value was taken from its copy, and why.
type restored struct{ key, why string }

// openCopied brings both buckets to one state: a value that is missing, or older
// than its copy, is stored again. Values that were repaired may be older although they
// have a newer version.
func openCopied(ctx context.Context, values, copies Bucket, repaired bool) (*copied, []restored, error) {
	c := &copied{Bucket: values, copies: copies, versions: map[string]events.Version{}}
	kept, err := copies.Entries(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, err := values.Entries(ctx)
	if err != nil {
		return nil, nil, err
	}
	have := map[string]events.Entry{}
	for _, e := range all {
		have[e.Key] = e
	}
	var again []restored
	for _, k := range kept {
		c.versions[k.Key] = k.Version
		e, there := have[k.Key]
		why := "it was missing"
		switch {
		case !there:
			_, err = values.Create(ctx, k.Key, k.Value)
		case follows(k, e, repaired):
			why = fmt.Sprintf("%s was older", e.Version)
			_, err = values.Update(ctx, k.Key, k.Value, e.Version)
		default:
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("restore %s from its copy: %w", k.Key, err)
		}
		again = append(again, restored{k.Key, why})
	}
	return c, again, nil
}

// follows reports whether a copy is of a value that was stored in place of e, or of
// what had taken its place.
func follows(k, e events.Entry, repaired bool) bool {
	var kept, is events.Decision
	if json.Unmarshal(k.Value, &kept) != nil {
		return false
	}
	if json.Unmarshal(e.Value, &is) != nil {
		return true
	}
	if string(k.Value) == string(e.Value) || kept.Former.Incarnation != e.Version.Incarnation {
		return false
	}
	return kept.Former.Revision >= e.Version.Revision || repaired && (is.Former.Zero() || kept.Former.After(is.Former))
}

func (c *copied) Create(ctx context.Context, key string, value []byte) (events.Version, error) {
	v, err := c.Bucket.Create(ctx, key, value)
	if err == nil {
		err = c.keep(ctx, key, value)
	}
	return v, err
}

func (c *copied) Update(ctx context.Context, key string, value []byte, last events.Version) (events.Version, error) {
	v, err := c.Bucket.Update(ctx, key, value, last)
	if err == nil {
		err = c.keep(ctx, key, value)
	}
	return v, err
}

func (c *copied) Delete(ctx context.Context, key string, last events.Version) error {
	if v, ok := c.versions[key]; ok {
		if err := c.copies.Delete(ctx, key, v); err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		delete(c.versions, key)
	}
	return c.Bucket.Delete(ctx, key, last)
}

// keep stores the copy. That another leader was first does not mean that it has
// stored the value: whoever tries that again would try for ever.
func (c *copied) keep(ctx context.Context, key string, value []byte) (err error) {
	var v events.Version
	if last, ok := c.versions[key]; ok {
		v, err = c.copies.Update(ctx, key, value, last)
	} else {
		v, err = c.copies.Create(ctx, key, value)
	}
	switch {
	case err == nil:
		c.versions[key] = v
		return nil
	case errors.Is(err, events.ErrConflict):
		return fmt.Errorf("copy of %s: %w", key, errOvertaken)
	}
	return fmt.Errorf("copy of %s: %w", key, err)
}
