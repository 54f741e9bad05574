//go:build !(linux || darwin || freebsd || windows)

package store

import "errors"

// freeSpace is not known on this system.
func freeSpace(string) (int64, error) { return 0, errors.ErrUnsupported }

func spaceError(err error) error { return err }
