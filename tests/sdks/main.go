// Reads messages as Kafka's binding has them, one JSON object a line; answers with the event, written in both modes.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"

	"github.com/IBM/sarama"
	kafka "github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
)

type wire struct {
	Headers map[string]string `json:"headers"`
	Value   []byte            `json:"value"`
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func written(ctx context.Context, e *event.Event) wire {
	var sent sarama.ProducerMessage
	check(kafka.WriteProducerMessage(ctx, binding.ToMessage(e), &sent))
	value, err := sent.Value.Encode()
	check(err)
	headers := map[string]string{}
	for _, header := range sent.Headers {
		headers[string(header.Key)] = string(header.Value)
	}
	return wire{headers, value}
}

func main() {
	ctx, lines, out := context.Background(), bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		var got wire
		check(json.Unmarshal(lines.Bytes(), &got))
		headers := map[string][]byte{}
		for name, value := range got.Headers {
			headers[name] = []byte(value)
		}
		e, err := binding.ToEvent(ctx, kafka.NewMessage(got.Value, got.Headers["content-type"], headers))
		check(err)
		text, err := e.MarshalJSON()
		check(err)
		var attributes map[string]any
		check(json.Unmarshal(text, &attributes))
		data := attributes["data"]
		delete(attributes, "data")
		check(out.Encode(map[string]any{
			"attributes": attributes, "data": data,
			"binary":     written(binding.WithForceBinary(ctx), e),
			"structured": written(binding.WithForceStructured(ctx), e),
		}))
	}
}
