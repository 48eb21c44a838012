// Reads messages as Kafka's binding has them, one JSON object a line; answers with the event, written in both modes.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.cloudevents.CloudEvent;
import io.cloudevents.core.provider.EventFormatProvider;
import io.cloudevents.jackson.JsonFormat;
import io.cloudevents.kafka.KafkaMessageFactory;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;

public class Reads {
  static final ObjectMapper JSON = new ObjectMapper();

  static ObjectNode written(ProducerRecord<Void, byte[]> sent) {
    ObjectNode message = JSON.createObjectNode(), headers = message.putObject("headers");
    for (Header header : sent.headers()) headers.put(header.key(), new String(header.value(), StandardCharsets.UTF_8));
    return message.put("value", Base64.getEncoder().encodeToString(sent.value()));
  }

  public static void main(String[] arguments) throws Exception {
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      JsonNode got = JSON.readTree(line);
      RecordHeaders headers = new RecordHeaders();
      got.get("headers").fields().forEachRemaining(
          each -> headers.add(each.getKey(), each.getValue().asText().getBytes(StandardCharsets.UTF_8)));
      byte[] value = Base64.getDecoder().decode(got.get("value").asText());
      CloudEvent event = KafkaMessageFactory.createReader(headers, value).toEvent();
      byte[] text = EventFormatProvider.getInstance().resolveFormat(JsonFormat.CONTENT_TYPE).serialize(event);
      ObjectNode attributes = (ObjectNode) JSON.readTree(text), answer = JSON.createObjectNode();
      answer.set("data", attributes.remove("data"));
      answer.set("attributes", attributes);
      answer.set("binary", written(KafkaMessageFactory.<Void>createWriter("t").writeBinary(event)));
      answer.set("structured", written(KafkaMessageFactory.<Void>createWriter("t").writeStructured(event, JsonFormat.CONTENT_TYPE)));
      System.out.println(JSON.writeValueAsString(answer));
    }
  }
}
