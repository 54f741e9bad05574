//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package checkpoint

import (
	"errors"
	"os"
)

// mapFile maps nothing here: weights are read piece by piece.
func mapFile(*os.File, int64) ([]byte, error) { return nil, errors.ErrUnsupported }

func forgetPages([]byte) {}

func unmapFile([]byte) error { return nil }
