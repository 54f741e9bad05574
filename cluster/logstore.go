package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrState reports a state folder that cannot be used.
var ErrState = errors.New("state folder")

// lockTimeout is how long opening the log waits for a process that has it open.
const lockTimeout = time.Second

var (
	logBucket    = []byte("log")    // by index, big-endian, so that the order of keys is that of entries
	stableBucket = []byte("stable") // raft's vote and term
)

// errNotFound has the text that raft looks for.
var errNotFound = errors.New("not found")

// logStore keeps raft's log and vote in one file. Every write is on the disk when it returns. It is safe for concurrent use.
type logStore struct {
	db *bolt.DB
}

var (
	_ raft.LogStore    = (*logStore)(nil)
	_ raft.StableStore = (*logStore)(nil)
)

// openLogStore opens or makes the file. A process that uses it already makes it fail with ErrState.
func openLogStore(path string) (*logStore, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTimeout})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s is in use by another polynode; stop that one, or choose another folder with --data", ErrState, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: open %s: %w", ErrState, path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(logBucket)
		if err == nil {
			_, err = tx.CreateBucketIfNotExists(stableBucket)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: write %s: %w", ErrState, path, err), db.Close())
	}
	return &logStore{db: db}, nil
}

// Close closes the file.
func (s *logStore) Close() error { return s.db.Close() }

// FirstIndex is the index of the oldest entry, 0 if there is none.
func (s *logStore) FirstIndex() (uint64, error) {
	return s.edge(func(c *bolt.Cursor) ([]byte, []byte) { return c.First() })
}

// LastIndex is the index of the newest entry, 0 if there is none.
func (s *logStore) LastIndex() (uint64, error) {
	return s.edge(func(c *bolt.Cursor) ([]byte, []byte) { return c.Last() })
}

func (s *logStore) edge(move func(*bolt.Cursor) (key, value []byte)) (index uint64, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		if key, _ := move(tx.Bucket(logBucket).Cursor()); key != nil {
			index = binary.BigEndian.Uint64(key)
		}
		return nil
	})
	return index, err
}

// GetLog reads one entry, or fails with raft.ErrLogNotFound.
func (s *logStore) GetLog(index uint64, log *raft.Log) error {
	return s.db.View(func(tx *bolt.Tx) error {
		value := tx.Bucket(logBucket).Get(indexKey(index))
		if value == nil {
			return raft.ErrLogNotFound
		}
		return decodeLog(index, value, log)
	})
}

// StoreLog writes one entry.
func (s *logStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries, all or none.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(logBucket)
		for _, log := range logs {
			if err := bucket.Put(indexKey(log.Index), encodeLog(log)); err != nil {
				return fmt.Errorf("write entry %d: %w", log.Index, err)
			}
		}
		return nil
	})
}

// DeleteRange removes the entries from first to last, both included.
func (s *logStore) DeleteRange(first, last uint64) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		cursor := tx.Bucket(logBucket).Cursor()
		for key, _ := cursor.Seek(indexKey(first)); key != nil && binary.BigEndian.Uint64(key) <= last; key, _ = cursor.Next() {
			if err := cursor.Delete(); err != nil {
				return fmt.Errorf("delete entries %d to %d: %w", first, last, err)
			}
		}
		return nil
	})
}

// Set writes a value of raft's own.
func (s *logStore) Set(key, value []byte) error {
	return s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(stableBucket).Put(key, value) })
}

// Get reads what Set wrote.
func (s *logStore) Get(key []byte) (value []byte, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		stored := tx.Bucket(stableBucket).Get(key)
		if stored == nil {
			return errNotFound
		}
		value = append([]byte{}, stored...)
		return nil
	})
	return value, err
}

// SetUint64 writes a number of raft's own.
func (s *logStore) SetUint64(key []byte, value uint64) error { return s.Set(key, indexKey(value)) }

// GetUint64 reads what SetUint64 wrote.
func (s *logStore) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("%w: %q has %d bytes, want 8", ErrState, key, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

func indexKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// logHeader is the term, the time of the append and the type, in front of an entry's data. raft's extensions are not used.
const logHeader = 8 + 8 + 1

func encodeLog(log *raft.Log) []byte {
	value := make([]byte, 0, logHeader+len(log.Data))
	value = binary.BigEndian.AppendUint64(value, log.Term)
	var at int64
	if !log.AppendedAt.IsZero() {
		at = log.AppendedAt.UnixNano()
	}
	value = binary.BigEndian.AppendUint64(value, uint64(at))
	value = append(value, byte(log.Type))
	return append(value, log.Data...)
}

func decodeLog(index uint64, value []byte, log *raft.Log) error {
	if len(value) < logHeader {
		return fmt.Errorf("%w: entry %d has %d bytes", ErrState, index, len(value))
	}
	*log = raft.Log{
		Index: index,
		Term:  binary.BigEndian.Uint64(value),
		Type:  raft.LogType(value[16]),
		Data:  append([]byte{}, value[logHeader:]...),
	}
	if at := int64(binary.BigEndian.Uint64(value[8:])); at != 0 {
		log.AppendedAt = time.Unix(0, at)
	}
	return nil
}
