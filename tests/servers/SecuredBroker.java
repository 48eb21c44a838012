import java.io.FileReader;
import java.net.URI;
import java.util.Properties;
import org.apache.activemq.broker.BrokerFactory;
import org.apache.activemq.broker.BrokerFilter;
import org.apache.activemq.broker.BrokerPlugin;
import org.apache.activemq.broker.BrokerService;
import org.apache.activemq.broker.ConnectionContext;
import org.apache.activemq.command.ConnectionInfo;

/** `java SecuredBroker.java URI FILE`: a broker that knows one user, of that file, which a URI cannot name. */
public class SecuredBroker {
    public static void main(String[] arguments) throws Exception {
        Properties known = new Properties();
        known.load(new FileReader(arguments[1]));
        BrokerService broker = BrokerFactory.createBroker(new URI(arguments[0]), false);
        broker.setPlugins(new BrokerPlugin[] {next -> new BrokerFilter(next) {
            @Override
            public void addConnection(ConnectionContext context, ConnectionInfo info) throws Exception {
                String user = info.getUserName(); // none: whoever starts it asks whether it answers
                boolean right = known.getProperty("user").equals(user)
                    && known.getProperty("password").equals(info.getPassword());
                if (user != null && !right) {
                    throw new SecurityException("User name [" + user + "] or password is invalid.");
                }
                super.addConnection(context, info);
            }
        }});
        broker.start();
        broker.waitUntilStopped();
    }
}
