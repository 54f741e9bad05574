package checkpoint

import (
	"fmt"
	"slices"
	"strings"
)

// report writes the findings.
func (c *Checkpoint) report(said *hfConfig, found *weightFiles, content *named, verdict headVerdict) {
	c.find("%s: %d layers, %d heads, %d wide, FFN %d wide, %d vocabulary rows, %d positions, %s, epsilon %g; %s parameters",
		said.architecture, c.config.Layers, c.config.Heads, c.config.Embed, c.config.Inner, c.config.Vocab,
		c.config.Positions, c.config.Activation, c.config.Epsilon, inMillions(c.config.Parameters()))
	c.reportFiles(found)
	c.find("weights are stored as %s", c.countDTypes())
	c.reportLayout(content)
	c.reportHead(said, verdict)
	if content.buffers > 0 {
		c.find("ignored: %d mask buffers (%s), %.1f MB", content.buffers, strings.Join(maskBuffers, ", "), float64(content.bufferBytes)/1e6)
	}
	c.reportEOS(said)
	if c.tokenizer == "" {
		c.find("the folder has no %s", tokenizerFile)
	}
	for _, note := range slices.Concat(said.notes, found.notes) {
		c.find("%s", note)
	}
}

func (c *Checkpoint) find(format string, args ...any) {
	c.findings = append(c.findings, fmt.Sprintf(format, args...))
}

func (c *Checkpoint) reportFiles(found *weightFiles) {
	var bytes int64
	for _, file := range c.files {
		bytes += file.size
	}
	what := c.files[0].name
	if n := len(c.files); n > 1 {
		what = fmt.Sprintf("%d shards, %s to %s", n, what, c.files[n-1].name)
	} else if found.place != nil {
		what += " by its index"
	}
	c.find("weights come from %s (%s, %.1f MB)", what, found.kind.format, float64(bytes)/1e6)
}

// countDTypes says how many of the model's tensors have each type, in the types' order.
func (c *Checkpoint) countDTypes() string {
	var counts [len(dtypes)]int
	for _, tensor := range c.tensors {
		counts[tensor.stored.dtype]++
	}
	var parts []string
	for kind, count := range counts {
		if count > 0 {
			parts = append(parts, fmt.Sprintf("%s (%d tensors)", dtype(kind), count))
		}
	}
	return strings.Join(parts, ", ")
}

// reportLayout gives the verdict on the matrices, and how many are views whose rows lie
// side by side although their shape says otherwise, as PolyLM's converter left them.
func (c *Checkpoint) reportLayout(content *named) {
	views, matrices := 0, 0
	for layer := range c.config.Layers {
		for _, part := range layerMatrices {
			tensor := c.tensors[part.Of(layer)]
			if matrices++; !slices.Equal(tensor.stored.stride, contiguous(tensor.stored.shape)) {
				views++
			}
		}
	}
	text := fmt.Sprintf("layer matrices are stored as %s", c.layout)
	if views > 0 {
		text += fmt.Sprintf("; %d of %d are views with strides of their own", views, matrices)
	}
	c.find("%s", text)
	switch {
	case content.prefixed == 0:
		c.find("tensor names lack the prefix %q", namePrefix)
	case content.bare > 0:
		c.find("%d tensor names lack the prefix %q", content.bare, namePrefix)
	}
}

func (c *Checkpoint) reportHead(said *hfConfig, verdict headVerdict) {
	c.find("the head is %s", verdict)
	if said.tied == nil {
		if verdict == headOwn {
			c.find("config.json does not say tie_word_embeddings, so that other programs would use wte instead of this head")
		}
		return
	}
	if *said.tied && verdict == headOwn {
		c.find("config.json says tie_word_embeddings true, so that other programs would use wte instead of this head")
	}
	if !*said.tied && verdict != headOwn {
		c.find("config.json says tie_word_embeddings false although the head equals wte")
	}
}

// reportEOS tells where generation stops, and that config.json says otherwise.
func (c *Checkpoint) reportEOS(said *hfConfig) {
	switch {
	case len(said.eos) == 0:
		c.find("config.json names no eos_token_id; texts end with %d", c.config.EOS)
	case !slices.Equal(said.eos, []int64{int64(c.config.EOS)}):
		said := strings.Trim(fmt.Sprint(said.eos[:min(len(said.eos), 8)]), "[]")
		c.find("config.json says eos_token_id %s; texts end with %d all the same", said, c.config.EOS)
	}
}

// inMillions writes a count of parameters as people say it.
func inMillions(count int64) string {
	if count >= 1e9 {
		return fmt.Sprintf("%.3f billion", float64(count)/1e9)
	}
	return fmt.Sprintf("%.2f million", float64(count)/1e6)
}
