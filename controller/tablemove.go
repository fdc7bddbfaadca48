package controller

import "time"

func (s *state) moveServers(time.Time) []effect { return nil }
