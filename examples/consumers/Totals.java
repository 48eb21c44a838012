// Keeps a read model of the shop's events: `java -cp 'libs/*' Totals.java BROKER TOPIC JDBC_URL`. The key is the stream.

import io.cloudevents.CloudEvent;
import io.cloudevents.kafka.CloudEventDeserializer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.DriverManager;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

public class Totals {
  public static void main(String[] arguments) throws Exception {
    Map<String, Object> settings = Map.of(
        "bootstrap.servers", arguments[0], "group.id", "totals-in-java",
        "auto.offset.reset", "earliest", "enable.auto.commit", false,
        "key.deserializer", StringDeserializer.class, "value.deserializer", CloudEventDeserializer.class);
    try (var consumer = new KafkaConsumer<String, CloudEvent>(settings);
        var db = DriverManager.getConnection(arguments[2])) {
      db.createStatement().execute(Files.readString(Path.of("totals.sql")));
      consumer.subscribe(List.of(arguments[1]));
      var apply = db.prepareStatement("select apply(?, ?::bigint, ?, ?::jsonb)");
      while (true) {
        for (var record : consumer.poll(Duration.ofSeconds(1))) {
          CloudEvent event = record.value();
          apply.setString(1, record.key());
          apply.setString(2, event.getExtension("streamversion").toString());
          apply.setString(3, event.getType());
          apply.setString(4, new String(event.getData().toBytes(), StandardCharsets.UTF_8));
          apply.execute();
        }
        consumer.commitSync(); // not before: after a crash the events come again
      }
    }
  }
}
