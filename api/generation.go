package api

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"polynode/engine"
	"polynode/engine/sample"
)

// Limits of one request's fields.
const (
	stopsMax     = 4    // stop strings
	stopBytesMax = 1024 // of one stop string
	biasMax      = 1024 // entries of logit_bias
	promptsMax   = 256  // prompts of one completions request
	messagesMax  = 2048 // messages of one chat
	partsMax     = 256  // parts of one message
	tokensAbsent = -1   // max_tokens was not given
	smallestTopP = 1e-9 // stands for top_p 0: only the likeliest token
	nameBytesMax = 512  // of user, request ids and other names
	idBytesMax   = 512  // of a model's id
)

// generation is what the fields that completions and chat share mean.
type generation struct {
	request engine.Request // all but ID and Prompt; MaxTokens is tokensAbsent when not given

	stops       []string
	includeStop bool // the stop string that was met belongs to the text
	skipSpecial bool // control tokens give no text

	stream    bool
	usage     bool // a last chunk with the usage
	obfuscate bool // pad chunks, so that their sizes say less

	heated         bool // a temperature above 0 was asked for
	promptTop      int  // report the prompt's log-probabilities, vLLM's way, with this many alternatives; -1 is off
	tokensAsIDs    bool // write tokens in log-probabilities as "token_id:N"
	returnTokenIDs bool
}

// parseGeneration reads the shared fields. vocabulary is the number of tokens; stopIDs are the ids that end a text.
func parseGeneration(f *fields, vocabulary int, stopIDs []int32) generation {
	g := generation{promptTop: -1, skipSpecial: true}
	g.parseChoices(f)
	g.parseSampling(f, vocabulary)
	g.parseBeams(f)
	g.parseStops(f, vocabulary, stopIDs)
	g.parseStream(f)

	if v := f.integer("prompt_logprobs", -1, 0, engine.TopMax); v >= 0 {
		g.promptTop = int(v)
		g.request.PromptLogprobs = true
		if g.stream {
			f.wrongValue("prompt_logprobs", "prompt log-probabilities are not available when 'stream' is true.")
		}
	}
	g.tokensAsIDs = f.boolean("return_tokens_as_token_ids", false)
	g.returnTokenIDs = f.boolean("return_token_ids", false)
	g.skipSpecial = f.boolean("skip_special_tokens", true)
	f.boolean("spaces_between_special_tokens", true) // there is never more than one special token, at the end
	f.text("user", "", nameBytesMax)
	f.text("request_id", "", nameBytesMax) // the header X-Request-Id is the way to name a request
	f.ignore("metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "verbosity",
		"cache_salt", "priority", "cache_prompt")
	refuseOthers(f)
	return g
}

// refuseOthers names the fields of OpenAI's, vLLM's and llama.cpp's users that would change the answer.
func refuseOthers(f *fields) {
	const unable = "is not supported by this server"
	for _, name := range []string{
		"guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "grammar", "json_schema",
		"bad_words", "allowed_token_ids", "logits_processors", "truncate_prompt_tokens", "prompt_embeds", "mm_processor_kwargs",
		"kv_transfer_params", "diversity_penalty", "num_beam_groups", "no_repeat_ngram_size", "typical_p", "mirostat",
	} {
		f.refuse(name, unable)
	}
}

// parseChoices reads how many sequences to make.
func (g *generation) parseChoices(f *fields) {
	g.request.Choices = int(f.integer("n", 1, 1, engine.ChoicesMax))
	g.request.BestOf = int(f.integer("best_of", int64(g.request.Choices), 1, engine.ChoicesMax))
	if g.request.BestOf < g.request.Choices {
		f.wrongValue("best_of", "'best_of' must be at least 'n' (%d).", g.request.Choices)
	}
	g.request.MinTokens = int(f.integer("min_tokens", 0, 0, math.MaxInt32))
}

// parseSampling reads how a token is chosen.
func (g *generation) parseSampling(f *fields, vocabulary int) {
	p := &g.request.Params
	p.Temperature = float32(f.number("temperature", -1, 0, 2))
	if g.heated = p.Temperature > 0; p.Temperature < 0 {
		p.Temperature = 1
	}
	p.TopP = float32(f.number("top_p", 1, 0, 1))
	if p.TopP == 0 {
		p.TopP = smallestTopP
	}
	p.TopK = max(0, int(f.integer("top_k", 0, -1, math.MaxInt32))) // -1 is vLLM's word for off
	p.MinP = float32(f.number("min_p", 0, 0, 1))
	p.RepetitionPenalty = float32(f.number("repetition_penalty", 1, 0.01, 10))
	p.PresencePenalty = float32(f.number("presence_penalty", 0, -2, 2))
	p.FrequencyPenalty = float32(f.number("frequency_penalty", 0, -2, 2))
	p.Bias = parseBias(f, vocabulary)
	p.Seed = parseSeed(f)
}

// parseSeed reads a seed, or draws one. Seeds that would be cut to fit are refused, so that different seeds stay different.
func parseSeed(f *fields) uint64 {
	raw, given := f.take("seed")
	if !given {
		return rand.Uint64()
	}
	seed, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		if _, whole := parseInteger(raw); !whole {
			f.wrongType("seed", "an integer", raw)
		}
		f.wrongValue("seed", "expected an integer from %d to %d, without a fraction or exponent.", math.MinInt64, math.MaxInt64)
	}
	return uint64(seed)
}

// parseBias reads {"token id": bias, …}, sorted by token so that equal requests are equal.
func parseBias(f *fields, vocabulary int) []sample.Bias {
	in := f.inner("logit_bias")
	if in == nil || len(in.members) == 0 {
		return nil
	}
	if len(in.members) > biasMax {
		f.wrongValue("logit_bias", "expected at most %d tokens, but got %d instead.", biasMax, len(in.members))
		return nil
	}
	bias := make([]sample.Bias, 0, len(in.members))
	for name := range in.members {
		id, err := strconv.ParseInt(name, 10, 32)
		if err != nil || id < 0 || id >= int64(vocabulary) || strconv.FormatInt(id, 10) != name {
			f.wrongValue("logit_bias", "every key must be a token id below %d.", vocabulary)
			return nil
		}
		bias = append(bias, sample.Bias{Token: int32(id)})
	}
	slices.SortFunc(bias, func(a, b sample.Bias) int { return cmp.Compare(a.Token, b.Token) })
	for i := range bias {
		name := strconv.Itoa(int(bias[i].Token))
		if string(in.members[name]) == "null" {
			in.wrongType(name, "a decimal", in.members[name])
		}
		bias[i].Value = float32(in.number(name, 0, -100, 100))
	}
	f.close(in)
	return bias
}

// parseBeams reads the beam search fields: num_beams as transformers has it, or use_beam_search with a width of best_of or n
// as vLLM has it. Beam search does not sample, so the temperature must be 0 or absent.
func (g *generation) parseBeams(f *fields) {
	r := &g.request
	beams := int(f.integer("num_beams", 0, 1, engine.ChoicesMax))
	use := f.boolean("use_beam_search", beams > 1)
	if use && beams == 0 {
		beams = max(r.BestOf, r.Choices)
	}
	if !use && beams > 1 {
		f.wrongValue("use_beam_search", "'num_beams' is %d.", beams)
	}
	early := f.boolean("early_stopping", false)
	penalty := float32(f.number("length_penalty", 1, -engine.LengthPenaltyMax, engine.LengthPenaltyMax))
	if !use || beams <= 1 {
		return
	}
	if beams < r.Choices {
		f.wrongValue("num_beams", "'num_beams' must be at least 'n' (%d).", r.Choices)
	}
	if g.heated {
		f.wrongValue("temperature", "beam search does not sample; leave 'temperature' out or set it to 0.")
	}
	if !r.Params.Plain() {
		f.wrongValue("num_beams", "penalties and 'logit_bias' do not go with beam search.")
	}
	r.Beams, r.EarlyStopping, r.LengthPenalty = beams, early, penalty
	r.BestOf = r.Choices
	r.Params.Temperature, r.Params.TopK, r.Params.TopP, r.Params.MinP = 0, 0, 1, 0
}

// parseStops reads what ends a text.
func (g *generation) parseStops(f *fields, vocabulary int, stopIDs []int32) {
	if raw, ok := f.members["stop"]; ok && len(raw) > 0 && raw[0] == '"' {
		g.addStop(f, "stop", unquote(raw))
		f.take("stop")
	} else {
		for i, raw := range f.list("stop", stopsMax) {
			name := "stop[" + strconv.Itoa(i) + "]"
			if raw[0] != '"' {
				f.wrongType(name, "a string", raw)
				break
			}
			g.addStop(f, name, unquote(raw))
		}
	}
	g.includeStop = f.boolean("include_stop_str_in_output", false)
	ignore := f.boolean("ignore_eos", false)
	own := f.tokens("stop_token_ids", engine.StopsMax-len(stopIDs), vocabulary)
	if !ignore {
		own = append(slices.Clone(stopIDs), own...)
	}
	g.request.StopIDs = own
}

func (g *generation) addStop(f *fields, name, stop string) {
	switch {
	case stop == "":
		f.wrongValue(name, "a stop string must not be empty.")
	case len(stop) > stopBytesMax:
		f.wrongValue(name, "string too long. Expected at most %d bytes, but got %d instead.", stopBytesMax, len(stop))
	default:
		g.stops = append(g.stops, stop)
	}
}

// parseStream reads how the answer is sent.
func (g *generation) parseStream(f *fields) {
	g.stream = f.boolean("stream", false)
	if g.stream && g.request.BestOf > g.request.Choices {
		f.wrongValue("best_of", "'best_of' above 'n' cannot be streamed: the best are known only at the end.")
	}
	in := f.inner("stream_options")
	if in == nil {
		return
	}
	if !g.stream {
		f.wrongValue("stream_options", "the 'stream_options' parameter is only allowed when 'stream' is true.")
	}
	g.usage = in.boolean("include_usage", false)
	g.obfuscate = in.boolean("include_obfuscation", false)
	in.refuse("continuous_usage_stats", "is not supported by this server")
	f.close(in)
}

// settle clamps the number of tokens to the context for a prompt of length prompt, or says that the prompt leaves no room.
// absent is what max_tokens is when the request had none.
func (g *generation) settle(param string, prompt, context, absent int) (maxTokens int, err *Error) {
	asked := g.request.MaxTokens
	if asked == tokensAbsent {
		asked = max(absent, 1)
	}
	if least := min(asked, 1); prompt+least > context {
		return 0, tooLong(param, context, prompt, max(asked, 1))
	}
	return min(asked, context-prompt), nil
}
