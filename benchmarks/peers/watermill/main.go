// The watermill contestant: its SQL subscriber's messages to its Kafka publisher, one after the other, in order.
//
//	relay DATABASE BROKER TOPIC
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5/pgxpool"
)

const outbox = "outbox"

func main() {
	database, broker, topic := os.Args[1], os.Args[2], os.Args[3]
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()

	pool, err := pgxpool.New(ctx, database)
	check(err)
	subscriber, err := sql.NewSubscriber(sql.BeginnerFromPgx(pool), sql.SubscriberConfig{
		SchemaAdapter:    sql.DefaultPostgreSQLSchema{SubscribeBatchSize: 1000},
		OffsetsAdapter:   sql.DefaultPostgreSQLOffsetsAdapter{},
		PollInterval:     time.Millisecond,
		InitializeSchema: true,
	}, watermill.NopLogger{})
	check(err)
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{
		Brokers:               []string{broker},
		Marshaler:             kafka.NewWithPartitioningMarshaler(key),
		OverwriteSaramaConfig: settings(),
	}, watermill.NopLogger{})
	check(err)
	messages, err := subscriber.Subscribe(ctx, outbox)
	check(err)
	for each := range messages {
		check(publisher.Publish(topic, each))
		each.Ack()
	}
	check(publisher.Close())
}

// The stream is the Kafka key, so that a stream stays in one partition.
func key(_ string, each *message.Message) (string, error) {
	return each.Metadata.Get("key"), nil
}

// Idempotent and acknowledged by all, as every contestant; sarama wants one request in flight for that.
func settings() *sarama.Config {
	config := kafka.DefaultSaramaSyncPublisherConfig()
	config.Version = sarama.V3_6_0_0
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Net.MaxOpenRequests = 1
	return config
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
