package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/distribution/reference"

	"ringway/events"
	"ringway/events/size"
	"ringway/router/ring/formula"
)

// validate is events.ServiceSpec.Validate, and what takes a compiler to know.
func validate(s *events.ServiceSpec) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if err := validPath("health", s.Health, true); err != nil {
		return err
	}
	for _, p := range s.Paths {
		if err := validPath("paths", p, false); err != nil {
			return err
		}
	}
	if s.Image != "" {
		if _, err := reference.ParseNormalizedNamed(s.Image); err != nil {
			return fmt.Errorf("image: %q: %w; write it like nginx:1.27 or registry.example/team/app@sha256:…", s.Image, err)
		}
	}
	if len(s.Command) > 0 && s.Command[0] == "" {
		return errors.New("command: the program has no name; give a program and its arguments, or [] for the sample replica")
	}
	if err := size.CheckSpecSize(*s); err != nil {
		return err
	}
	if s.Algorithm != events.Course {
		return nil
	}
	if s.Slots < events.CourseK {
		return fmt.Errorf("slots: %d are too few; algorithm course takes %d a replica", s.Slots, events.CourseK)
	}
	for _, fn := range []struct{ key, h, phi string }{{"functions.h", s.Functions.H, ""}, {"functions.phi", "", s.Functions.Phi}} {
		if _, err := formula.Compile(fn.h, fn.phi, s.Slots, events.CourseK); err != nil {
			return fmt.Errorf("%s: %w", fn.key, err)
		}
	}
	return nil
}

// validPath refuses what cannot be sent as the path of a request.
func validPath(key, path string, query bool) error {
	for _, r := range path {
		if r <= ' ' || r > '~' {
			return fmt.Errorf("%s: %q: %q cannot be in a path; write it percent-encoded, like %s", key, path, r, url.PathEscape(string(r)))
		}
	}
	if _, err := url.ParseRequestURI(path); err != nil || strings.HasPrefix(path, "//") || strings.Contains(path, "#") || !query && strings.Contains(path, "?") {
		return fmt.Errorf("%s: %q is no path; write it like /status, without host and fragment, and letters after %% as two hexadecimal digits", key, path)
	}
	return nil
}
