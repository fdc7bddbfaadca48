package config

import (
	"errors"
	"fmt"

	"ringway/events"
	"ringway/router/ring/formula"
)

// validate is events.ServiceSpec.Validate, and what takes a compiler to know.
func validate(s *events.ServiceSpec) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if len(s.Command) > 0 && s.Command[0] == "" {
		return errors.New("command: the program has no name; give a program and its arguments, or [] for the sample replica")
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
