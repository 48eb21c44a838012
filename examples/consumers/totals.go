// Keeps a read model of the shop's events: `totals BROKER TOPIC DATABASE_URL`. The record's key is the stream.
package main

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"os"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	_ "github.com/lib/pq"
)

//go:embed totals.sql
var tables string

type group struct{ db *sql.DB }

func (group) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (group) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (g group) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		event := must(binding.ToEvent(session.Context(), kafka_sarama.NewMessageFromConsumerMessage(message)))
		version := fmt.Sprint(event.Extensions()["streamversion"])
		must(g.db.Exec("select apply($1, $2, $3, $4)", string(message.Key), version, event.Type(), string(event.Data())))
		session.MarkMessage(message, "") // not before: after a crash the event comes again
	}
	return nil
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	db, settings := must(sql.Open("postgres", os.Args[3])), sarama.NewConfig()
	must(db.Exec(tables))
	settings.Consumer.Offsets.Initial = sarama.OffsetOldest
	members := must(sarama.NewConsumerGroup([]string{os.Args[1]}, "totals-in-go", settings))
	for {
		must(0, members.Consume(context.Background(), []string{os.Args[2]}, group{db}))
	}
}
