package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"polynode/engine"
)

// readChat reads the body of POST /v1/chat/completions.
func (s *Server) readChat(w http.ResponseWriter, r *http.Request) (*job, *Error) {
	f, err := s.readFields(w, r)
	if err != nil {
		return nil, err
	}
	j := &job{param: "messages", id: "chatcmpl-" + newID()}
	j.generation = parseGeneration(f, s.tokenizer.Size(), s.model.StopIDs)
	j.parseChatTokens(f)
	f.boolean("add_special_tokens", false)
	refuseFormat(f)
	refuseTools(f)
	f.ignore("reasoning_effort", "prediction")
	checkMinTokens(f, &j.generation)
	messages, ending := parseMessages(f)
	if f.end(); f.err != nil {
		return nil, f.err
	}
	text := s.model.Chat.render(messages, ending)
	ids, err := s.encode("messages", text)
	if err != nil {
		return nil, err
	}
	j.prompts = []prompt{{tokens: ids, echo: text}}
	if len(j.request.StopIDs) > 0 {
		j.formatStops = s.model.Chat.stops() // ignore_eos asks for a text that nothing ends
	}
	return j, s.settle(j, s.model.Context-len(ids))
}

// parseChatTokens reads the fields that are named otherwise than in completions.
func (j *job) parseChatTokens(f *fields) {
	old := f.integer("max_tokens", tokensAbsent, 1, 1<<31-1)
	j.request.MaxTokens = int(f.integer("max_completion_tokens", old, 1, 1<<31-1))
	j.logprobs = f.boolean("logprobs", false)
	j.top = int(f.integer("top_logprobs", 0, 0, engine.TopMax))
	if j.top > 0 && !j.logprobs {
		f.wrongValue("top_logprobs", "'logprobs' must be true when 'top_logprobs' is set.")
	}
}

// refuseTools names what a chat may carry elsewhere.
func refuseTools(f *fields) {
	const unable = "is not supported by this server"
	for _, name := range []string{"tools", "functions", "audio", "web_search_options", "documents", "chat_template", "chat_template_kwargs"} {
		f.refuse(name, unable)
	}
	for _, name := range []string{"tool_choice", "function_call"} {
		if raw, ok := f.take(name); ok && string(raw) != `"none"` && string(raw) != `"auto"` {
			f.fail(unsupported(name, unable))
		}
	}
	f.boolean("parallel_tool_calls", true)
	for i, raw := range f.list("modalities", 8) {
		if string(raw) != `"text"` {
			f.fail(unsupported("modalities["+strconv.Itoa(i)+"]", "must be \"text\""))
		}
	}
	f.refuse("prompt", "belongs to /v1/completions")
	f.refuse("suffix", "belongs to /v1/completions")
	f.refuse("echo", "belongs to /v1/completions")
}

// parseMessages reads the conversation and how its prompt ends.
func parseMessages(f *fields) ([]message, ending) {
	add := f.boolean("add_generation_prompt", true)
	_, said := f.members["continue_final_message"]
	carry := f.boolean("continue_final_message", false)
	values := f.list("messages", messagesMax)
	if len(values) == 0 {
		f.fail(invalid("messages", "missing_required_parameter", "Missing required parameter: 'messages', an array with at least one message."))
		return nil, endAnswer
	}
	messages := make([]message, 0, len(values))
	for i, raw := range values {
		messages = append(messages, parseMessage(f, i, raw))
	}
	last := messages[len(messages)-1].role == "assistant"
	switch {
	case carry && !last:
		f.wrongValue("continue_final_message", "the last message must be the assistant's.")
	case carry || last && add && !said:
		return messages, endContinue // an assistant's last message is the beginning of the answer
	case !add:
		return messages, endNothing
	case last:
		f.wrongValue("messages", "the last message is the assistant's; set 'continue_final_message' to true to continue it.")
	}
	return messages, endAnswer
}

// parseMessage reads one message: its role and its text, as a string or in parts.
func parseMessage(f *fields, i int, raw json.RawMessage) message {
	name := "messages[" + strconv.Itoa(i) + "]"
	in := &fields{path: name + "."}
	if raw[0] != '{' || json.Unmarshal(raw, &in.members) != nil {
		f.wrongType(name, "an object", raw)
		return message{}
	}
	m := message{role: in.text("role", "", nameBytesMax)}
	switch m.role {
	case "system", "developer", "user", "assistant":
	case "":
		in.fail(invalid(name+".role", "missing_required_parameter", "Missing required parameter: '%s.role'.", name))
	case "tool", "function":
		in.fail(unsupported(name+".role", "must be \"system\", \"developer\", \"user\" or \"assistant\": tools are not supported by this server"))
	default:
		in.wrongValue("role", "expected one of \"system\", \"developer\", \"user\" and \"assistant\".")
	}
	in.text("name", "", nameBytesMax) // the prompt formats have no place for it
	for _, n := range []string{"tool_calls", "function_call", "audio", "refusal"} {
		in.refuse(n, "is not supported by this server")
	}
	in.ignore("annotations", "reasoning", "reasoning_content")
	m.text = parseContent(in)
	f.close(in)
	return m
}

// parseContent reads a string, or an array of text parts, which are joined as they are.
func parseContent(in *fields) string {
	raw, ok := in.members["content"]
	if !ok || string(raw) == "null" {
		in.fail(invalid(in.path+"content", "missing_required_parameter", "Missing required parameter: '%scontent'.", in.path))
		return ""
	}
	if raw[0] == '"' {
		in.take("content")
		return unquote(raw)
	}
	var text strings.Builder
	for i, part := range in.list("content", partsMax) {
		p := &fields{path: in.path + "content[" + strconv.Itoa(i) + "]."}
		if part[0] != '{' || json.Unmarshal(part, &p.members) != nil {
			in.wrongType("content["+strconv.Itoa(i)+"]", "an object", part)
			break
		}
		if kind := p.text("type", "", nameBytesMax); kind != "text" {
			p.fail(unsupported(p.path+"type", "must be \"text\": the model reads nothing else"))
		}
		p.ignore("cache_control")
		if raw, ok := p.take("text"); ok && raw[0] == '"' {
			text.WriteString(unquote(raw))
		} else {
			p.wrongType("text", "a string", raw)
		}
		in.close(p)
	}
	return text.String()
}
