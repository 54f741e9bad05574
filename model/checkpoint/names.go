package checkpoint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"polynode/model"
)

// Names as transformers' GPT-2 writes them. Inside the layers they are the canonical parts;
// the prefix is there if the model was saved with its head around it.
const (
	namePrefix = "transformer."
	headName   = "lm_head.weight"
)

// outerNames are the tensors outside the layers, after the prefix.
var outerNames = map[string]model.Name{
	"wte.weight":  model.TokenEmbedding,
	"wpe.weight":  model.PositionEmbedding,
	"ln_f.weight": model.FinalNormWeight,
	"ln_f.bias":   model.FinalNormBias,
}

// maskBuffers are the parts of a layer that are not weights: the causal mask and the value
// that stands for minus infinity. Attention is causal here without them.
var maskBuffers = []string{"attn.bias", "attn.masked_bias"}

// named is the checkpoint's content by canonical name.
type named struct {
	tensors     map[model.Name]*stored
	head        *stored // lm_head.weight, or nil
	buffers     int     // masks that were ignored
	bufferBytes int64
	prefixed    int // tensors with the prefix, of those that can have it
	bare        int // tensors without it
}

// nameTensors gives every stored tensor its canonical name. Errors wrap ErrUnexpected and
// name the file and the tensor.
func nameTensors(all []*stored, layers int) (*named, error) {
	n := &named{tensors: make(map[model.Name]*stored, len(all))}
	for _, tensor := range all {
		if err := n.add(tensor, layers); err != nil {
			return nil, fmt.Errorf("%s: tensor %s: %w", tensor.file.name, show(tensor.name), err)
		}
	}
	return n, nil
}

func (n *named) add(tensor *stored, layers int) error {
	if tensor.name == headName {
		n.head = tensor
		return nil
	}
	inner, prefixed := strings.CutPrefix(tensor.name, namePrefix)
	if prefixed {
		n.prefixed++
	} else {
		n.bare++
	}
	canonical, isOuter := outerNames[inner]
	if !isOuter {
		layer, part, ok := splitLayer(inner)
		if !ok {
			return fmt.Errorf("%w: not a part of GPT-2", ErrUnexpected)
		}
		if layer >= layers {
			return fmt.Errorf("%w: layer %d, but config.json says n_layer %d", ErrUnexpected, layer, layers)
		}
		if slices.Contains(maskBuffers, part) {
			n.buffers++
			n.bufferBytes += tensor.elements() * tensor.dtype.size()
			return nil
		}
		if !slices.Contains(model.LayerParts, model.Part(part)) {
			return fmt.Errorf("%w: not a part of a GPT-2 layer", ErrUnexpected)
		}
		canonical = model.Part(part).Of(layer)
	}
	if other := n.tensors[canonical]; other != nil {
		return fmt.Errorf("%w: the same as %s", ErrUnexpected, show(other.name))
	}
	n.tensors[canonical] = tensor
	return nil
}

// splitLayer takes a name such as h.3.ln_1.weight apart. The number must be written the one
// usual way, so that two names cannot mean one layer.
func splitLayer(name string) (layer int, part string, ok bool) {
	rest, ok := strings.CutPrefix(name, "h.")
	if !ok {
		return 0, "", false
	}
	number, part, ok := strings.Cut(rest, ".")
	if !ok {
		return 0, "", false
	}
	layer, err := strconv.Atoi(number)
	return layer, part, err == nil && layer >= 0 && strconv.Itoa(layer) == number
}
