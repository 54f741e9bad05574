package checkpoint

import (
	"fmt"
	"slices"

	"polynode/model"
)

// layout is how a checkpoint stores the matrices of its layers. Conv1D, GPT-2's own, keeps
// them as (inputs, outputs); Linear, as torch's layer of that name, as (outputs, inputs).
type layout uint8

const (
	layoutUnknown layout = iota
	layoutConv1D
	layoutLinear
)

func (l layout) String() string {
	return [...]string{"unknown", "Conv1D, (inputs, outputs)", "Linear, (outputs, inputs)"}[l]
}

// layerMatrices are the parts whose layout varies. Attention's output matrix is square, so
// that only the others can tell how it is stored.
var layerMatrices = []model.Part{model.QKVWeight, model.AttnProjWeight, model.FFNUpWeight, model.FFNDownWeight}

// findLayout compares every matrix with both layouts; all that can tell must agree. Errors
// wrap ErrShape or ErrLayout and name the tensors.
func findLayout(config *model.Config, tensors map[model.Name]*stored) (layout, error) {
	verdict, witness := layoutUnknown, (*stored)(nil)
	for layer := range config.Layers {
		for _, part := range layerMatrices {
			tensor := tensors[part.Of(layer)]
			rows, cols, _ := config.PartShape(part)
			fitsConv := hasShape(tensor, cols, rows)
			fitsLinear := hasShape(tensor, rows, cols)
			if !fitsConv && !fitsLinear {
				return layoutUnknown, fmt.Errorf("%s: tensor %s: %w: %v, want %v or %v for this config.json", tensor.file.name,
					show(tensor.name), ErrShape, tensor.shape, []int{cols, rows}, []int{rows, cols})
			}
			if fitsConv && fitsLinear {
				continue
			}
			found := layoutLinear
			if fitsConv {
				found = layoutConv1D
			}
			if witness != nil && found != verdict {
				return layoutUnknown, fmt.Errorf("%s: tensor %s: %w: %s, but %s of %s is %s", tensor.file.name,
					show(tensor.name), ErrLayout, found, show(witness.name), witness.file.name, verdict)
			}
			verdict, witness = found, tensor
		}
	}
	return verdict, nil
}

// hasShape reports whether a tensor is a matrix of that size.
func hasShape(tensor *stored, rows, cols int) bool {
	return slices.Equal(tensor.shape, []int64{int64(rows), int64(cols)})
}

// orient makes the tensor of one spec from what is stored; transposed says that its rows
// are the stored columns.
func orient(spec model.TensorSpec, source *stored, transposed bool) (*Tensor, error) {
	if !source.dtype.isFloat() {
		return nil, fmt.Errorf("%w: weights of type %s", ErrUnsupported, source.dtype)
	}
	tensor := &Tensor{name: spec.Name, stored: source, rows: spec.Rows, cols: spec.Cols}
	if spec.Rows == 1 && !spec.Matrix {
		if err := wantShape(source, spec.Cols); err != nil && !hasShape(source, 1, spec.Cols) {
			return nil, err
		}
		tensor.colStride = source.stride[len(source.stride)-1]
	} else if transposed {
		if err := wantShape(source, spec.Cols, spec.Rows); err != nil {
			return nil, err
		}
		tensor.rowStride, tensor.colStride = source.stride[1], source.stride[0]
	} else {
		if err := wantShape(source, spec.Rows, spec.Cols); err != nil {
			return nil, err
		}
		tensor.rowStride, tensor.colStride = source.stride[0], source.stride[1]
	}
	if source.elements() > source.room {
		return nil, fmt.Errorf("%w: a view of %v that repeats the %d elements of its storage", ErrFormat, source.shape, source.room)
	}
	return tensor, nil
}

// wantShape compares a tensor's shape with the one that config.json demands.
func wantShape(tensor *stored, want ...int) error {
	same := len(tensor.shape) == len(want)
	for i := 0; same && i < len(want); i++ {
		same = tensor.shape[i] == int64(want[i])
	}
	if !same {
		return fmt.Errorf("%w: %v, want %v for this config.json", ErrShape, tensor.shape, want)
	}
	return nil
}
