package checkpoint

import (
	"fmt"
	"strings"
)

// pickleStorage is a run of elements that the archive holds under a key.
type pickleStorage struct {
	key      string
	dtype    dtype
	elements int64
}

// pickleTensor is a view into a storage.
type pickleTensor struct {
	storage *pickleStorage
	offset  int64 // elements
	shape   []int64
	stride  []int64 // elements
}

// The globals that a pickle may name, besides the storage classes of dtypes. The parameter
// is harmless (a tensor with flags) and occurs where somebody saved parameters themselves.
const (
	globalOrderedDict pickleGlobal = "collections.OrderedDict"
	globalTensor      pickleGlobal = "torch._utils._rebuild_tensor_v2"
	globalParameter   pickleGlobal = "torch._utils._rebuild_parameter"
)

// pushGlobal puts an allowed global on the stack and refuses every other by its name.
func (m *pickleMachine) pushGlobal(module, name string) error {
	global := pickleGlobal(module + "." + name)
	switch global {
	case globalOrderedDict, globalTensor, globalParameter:
		return m.push(global)
	}
	if class, ok := strings.CutPrefix(string(global), "torch."); ok {
		if _, known := dtypeOfTorch(class); known {
			return m.push(global)
		}
	}
	return fmt.Errorf("%w: asks for %s, which is none of what a checkpoint needs", ErrUnsafePickle, show(string(global)))
}

// call does what the three functions would do in Python.
func (m *pickleMachine) call(callee, arguments any) error {
	args, ok := arguments.(pickleTuple)
	if !ok {
		return fmt.Errorf("%w: a call without a tuple of arguments", ErrFormat)
	}
	switch callee {
	case globalOrderedDict:
		if len(args) != 0 {
			return fmt.Errorf("%w: an OrderedDict made with arguments", ErrFormat)
		}
		return m.pushObject(&pickleDict{ordered: true})
	case globalTensor:
		tensor, err := rebuildTensor(args)
		if err != nil {
			return err
		}
		return m.pushObject(tensor)
	case globalParameter:
		// (data, requires_grad, backward_hooks): only the data matters.
		if len(args) == 3 {
			if tensor, ok := args[0].(*pickleTensor); ok {
				return m.push(tensor)
			}
		}
		return fmt.Errorf("%w: a parameter without a tensor", ErrFormat)
	}
	return fmt.Errorf("%w: calls something that is not a function of the allowed three", ErrUnsafePickle)
}

// setState ignores the attributes of an OrderedDict (torch's _metadata: module versions)
// and refuses to set those of anything else.
func (m *pickleMachine) setState(state any) error {
	target, err := m.top()
	if err != nil {
		return err
	}
	dict, ok := target.(*pickleDict)
	if !ok || !dict.ordered {
		return fmt.Errorf("%w: sets the state of something that is not an OrderedDict", ErrUnsafePickle)
	}
	if _, ok := state.(*pickleDict); !ok {
		return fmt.Errorf("%w: the state of an OrderedDict is not a dictionary", ErrFormat)
	}
	return nil
}

// pushStorage resolves a persistent id: ("storage", class, key, device, elements).
func (m *pickleMachine) pushStorage(id any) error {
	fields, ok := id.(pickleTuple)
	if !ok || len(fields) != 5 || fields[0] != "storage" {
		return fmt.Errorf("%w: a persistent id that is not a storage", ErrFormat)
	}
	class, ok := fields[1].(pickleGlobal)
	kind, known := dtypeOfTorch(strings.TrimPrefix(string(class), "torch."))
	if !ok || !known {
		return fmt.Errorf("%w: a storage without a class", ErrFormat)
	}
	key, ok := fields[2].(string)
	if !ok || len(key) > nameBytesMax {
		return fmt.Errorf("%w: a storage without a key", ErrFormat)
	}
	elements, ok := fields[4].(int64)
	if !ok || elements < 0 || elements > dimMax {
		return fmt.Errorf("%w: storage %s has an impossible number of elements", ErrFormat, show(key))
	}
	storage := m.storages[key]
	if storage == nil {
		storage = &pickleStorage{key: key, dtype: kind, elements: elements}
		m.storages[key] = storage
	}
	if storage.dtype != kind || storage.elements != elements {
		return fmt.Errorf("%w: storage %s is described twice, as %d of %s and as %d of %s", ErrFormat,
			show(key), storage.elements, storage.dtype, elements, kind)
	}
	return m.pushObject(storage)
}

// rebuildTensor makes a view from (storage, offset, size, stride, requires_grad, hooks[,
// metadata]) and checks that it stays within the storage.
func rebuildTensor(args pickleTuple) (*pickleTensor, error) {
	if len(args) != 6 && len(args) != 7 {
		return nil, fmt.Errorf("%w: a tensor made from %d arguments", ErrFormat, len(args))
	}
	storage, ok := args[0].(*pickleStorage)
	if !ok {
		return nil, fmt.Errorf("%w: a tensor without a storage", ErrFormat)
	}
	offset, ok := args[1].(int64)
	if !ok {
		return nil, fmt.Errorf("%w: a tensor whose storage offset is not a number", ErrFormat)
	}
	shape, err := integers(args[2])
	if err != nil {
		return nil, fmt.Errorf("a tensor's size: %w", err)
	}
	stride, err := integers(args[3])
	if err != nil {
		return nil, fmt.Errorf("a tensor's stride: %w", err)
	}
	tensor := &pickleTensor{storage: storage, offset: offset, shape: shape, stride: stride}
	return tensor, tensor.check()
}

// check refuses views that reach outside their storage.
func (t *pickleTensor) check() error {
	if len(t.shape) != len(t.stride) {
		return fmt.Errorf("%w: a tensor of %d dimensions with %d strides", ErrFormat, len(t.shape), len(t.stride))
	}
	if t.offset < 0 || t.offset > t.storage.elements {
		return fmt.Errorf("%w: a tensor starts at element %d of storage %s, which has %d", ErrFormat,
			t.offset, show(t.storage.key), t.storage.elements)
	}
	count, ok := checkedProduct(t.shape...)
	if !ok {
		return fmt.Errorf("%w: a tensor of shape %v", ErrLimit, t.shape)
	}
	if count == 0 {
		return nil
	}
	last := t.offset
	for i, dim := range t.shape {
		reach, ok := checkedProduct(dim-1, t.stride[i])
		if !ok || reach >= t.storage.elements-last {
			return fmt.Errorf("%w: a tensor of shape %v, stride %v and offset %d reaches outside storage %s, which has %d elements",
				ErrFormat, t.shape, t.stride, t.offset, show(t.storage.key), t.storage.elements)
		}
		last += reach
	}
	if last >= t.storage.elements {
		return fmt.Errorf("%w: a tensor of one element outside storage %s", ErrFormat, show(t.storage.key))
	}
	return nil
}

// integers reads a tuple of sizes or strides.
func integers(value any) ([]int64, error) {
	tuple, ok := value.(pickleTuple)
	if !ok {
		return nil, fmt.Errorf("%w: not a tuple", ErrFormat)
	}
	if len(tuple) > dimsMax {
		return nil, fmt.Errorf("%w: %d dimensions, at most %d", ErrLimit, len(tuple), dimsMax)
	}
	numbers := make([]int64, len(tuple))
	for i, item := range tuple {
		if numbers[i], ok = item.(int64); !ok {
			return nil, fmt.Errorf("%w: not a tuple of integers", ErrFormat)
		}
	}
	return numbers, checkDims(numbers)
}
