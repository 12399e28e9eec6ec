import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.utils.ImplicitLinkedHashCollection;

/**
 * Answers questions about Apache Kafka's own message classes, one line of JSON per line asked.
 *
 * <pre>
 * apis                         every API: versions, header versions, listeners
 * errors                       every error code
 * read CLASS VERSION HEX       decodes, encodes again, and goes through the JSON converter
 * filled CLASS VERSION         the default object with one default element in every list
 * absent CLASS VERSION         fields that the version lacks, and whether a value may be dropped
 * </pre>
 */
public final class MessageOracle {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HexFormat HEX = HexFormat.of();

    public static void main(String[] args) throws Exception {
        BufferedReader in =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.US_ASCII);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ObjectNode answer;
            try {
                answer = answer(line.split(" ", -1));
            } catch (Throwable wrong) {
                answer = JSON.createObjectNode().put("error", wrong.toString());
            }
            out.println(ascii(answer.toString()));
        }
        out.flush();
    }

    private static String ascii(String text) {
        StringBuilder out = new StringBuilder(text.length());
        for (char c : text.toCharArray()) {
            if (c < 128) {
                out.append(c);
            } else {
                out.append(String.format("\\u%04x", (int) c));
            }
        }
        return out.toString();
    }

    private static ObjectNode answer(String[] words) throws Exception {
        switch (words[0]) {
            case "apis":
                return apis();
            case "errors":
                return errors();
            case "read":
                return read(words[1], Short.parseShort(words[2]), HEX.parseHex(words[3]));
            case "filled":
                return JSON.createObjectNode().put(
                    "hex", filledHex(words[1], Short.parseShort(words[2])));
            case "absent":
                return absent(words[1], Short.parseShort(words[2]));
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    private static ObjectNode apis() {
        ObjectNode all = JSON.createObjectNode();
        for (ApiMessageType type : ApiMessageType.values()) {
            if (type.highestSupportedVersion(true) < 0) {
                continue;
            }
            ApiKeys key = ApiKeys.forId(type.apiKey());
            ObjectNode api = all.putObject(type.name());
            api.put("key", type.apiKey());
            api.put("low", type.lowestSupportedVersion());
            api.put("high", type.highestSupportedVersion(true));
            api.put("advertised_high", type.highestSupportedVersion(false));
            api.put("advertised_low", key == ApiKeys.PRODUCE
                ? ApiKeys.PRODUCE_API_VERSIONS_RESPONSE_MIN_VERSION : key.oldestVersion());
            ArrayNode listeners = api.putArray("listeners");
            type.listeners().forEach(each -> listeners.add(each.name()));
            ArrayNode requests = api.putArray("request_headers");
            ArrayNode responses = api.putArray("response_headers");
            for (short v = type.lowestSupportedVersion(); v <= type.highestSupportedVersion(true); v++) {
                requests.add(type.requestHeaderVersion(v));
                responses.add(type.responseHeaderVersion(v));
            }
        }
        return all;
    }

    private static ObjectNode errors() {
        ObjectNode all = JSON.createObjectNode();
        for (Errors error : Errors.values()) {
            all.putObject(error.name())
                .put("code", error.code())
                .put("retriable", error.exception() instanceof RetriableException);
        }
        return all;
    }

    private static ObjectNode read(String name, short version, byte[] data) throws Exception {
        Message message = create(name);
        ByteBuffer buffer = ByteBuffer.wrap(data);
        message.read(new ByteBufferAccessor(buffer), version);
        ObjectNode answer = JSON.createObjectNode();
        answer.put("left", buffer.remaining());
        answer.put("hex", hex(message, version));
        Class<?> converter = Class.forName(name + "JsonConverter");
        JsonNode json = null;
        for (Method method : converter.getDeclaredMethods()) {
            if (method.getName().equals("write") && method.getParameterCount() == 2) {
                json = (JsonNode) method.invoke(null, message, version);
            }
        }
        answer.set("json", json);
        Object again = converter.getMethod("read", JsonNode.class, short.class)
            .invoke(null, json, version);
        answer.put("hex_from_json", hex((Message) again, version));
        return answer;
    }

    private static String hex(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) {
            throw new IllegalStateException("size() is wrong");
        }
        return HEX.formatHex(buffer.array());
    }

    private static Message create(String name) throws Exception {
        return (Message) Class.forName(name).getDeclaredConstructor().newInstance();
    }

    /** The fields that a struct has in a version, by Kafka's snake case; null if there is no schema. */
    private static Map<String, Schema> present(Class<?> type, short version) throws Exception {
        Schema[] schemas = (Schema[]) type.getField("SCHEMAS").get(null);
        Map<String, Schema> found = new HashMap<>();
        if (version >= schemas.length || schemas[version] == null) {
            return found;
        }
        for (BoundField field : schemas[version].fields()) {
            if (field.def.type instanceof TaggedFields) {
                ((TaggedFields) field.def.type).fields().values()
                    .forEach(tagged -> found.put(tagged.name, schemas[version]));
            } else {
                found.put(field.def.name, schemas[version]);
            }
        }
        return found;
    }

    private static String snake(String camel) {
        return camel.replaceAll("([a-z0-9])([A-Z])", "$1_$2").toLowerCase();
    }

    private static List<Field> fieldsOf(Class<?> type) {
        List<Field> fields = new ArrayList<>();
        for (Field field : type.getDeclaredFields()) {
            boolean own = !Modifier.isStatic(field.getModifiers())
                && !field.getName().equals("_unknownTaggedFields")
                && !field.getName().equals("next") && !field.getName().equals("prev");
            if (own) {
                field.setAccessible(true);
                fields.add(field);
            }
        }
        return fields;
    }

    /** The element class of a list of structs, or null. */
    private static Class<?> elementOf(Field field) {
        Type type = field.getGenericType();
        if (ImplicitLinkedHashCollection.class.isAssignableFrom(field.getType())) {
            type = field.getType().getGenericSuperclass();
        }
        if (!(type instanceof ParameterizedType)) {
            return null;
        }
        Class<?> element = (Class<?>) ((ParameterizedType) type).getActualTypeArguments()[0];
        return Message.class.isAssignableFrom(element) ? element : null;
    }

    /** Puts one default element into every list of structs, and a struct wherever one may be. */
    @SuppressWarnings("unchecked")
    private static void fill(Message message, short version) throws Exception {
        Map<String, Schema> present = present(message.getClass(), version);
        for (Field field : fieldsOf(message.getClass())) {
            if (!present.containsKey(snake(field.getName()))) {
                continue;
            }
            Class<?> element = elementOf(field);
            if (element != null) {
                Message one = (Message) element.getDeclaredConstructor().newInstance();
                fill(one, version);
                Collection<Message> list = (Collection<Message>) (
                    ImplicitLinkedHashCollection.class.isAssignableFrom(field.getType())
                        ? field.getType().getDeclaredConstructor().newInstance()
                        : new ArrayList<Message>());
                list.add(one);
                field.set(message, list);
            } else if (Message.class.isAssignableFrom(field.getType())) {
                Message one = (Message) field.getType().getDeclaredConstructor().newInstance();
                fill(one, version);
                field.set(message, one);
            }
        }
    }

    private static String filledHex(String name, short version) throws Exception {
        Message message = create(name);
        fill(message, version);
        return hex(message, version);
    }

    private static ObjectNode absent(String name, short version) throws Exception {
        ObjectNode found = JSON.createObjectNode();
        Message root = create(name);
        fill(root, version);
        absent(root, root, version, "", found);
        return found;
    }

    private static void absent(
        Message root, Message message, short version, String path, ObjectNode found
    ) throws Exception {
        Map<String, Schema> present = present(message.getClass(), version);
        for (Field field : fieldsOf(message.getClass())) {
            String own = path + snake(field.getName());
            if (!present.containsKey(snake(field.getName()))) {
                Object before = field.get(message);
                field.set(message, other(field, before));
                try {
                    hex(root, version);
                    found.put(own, true);
                } catch (org.apache.kafka.common.errors.UnsupportedVersionException refused) {
                    found.put(own, false);
                }
                field.set(message, before);
            } else if (field.get(message) instanceof Message) {
                absent(root, (Message) field.get(message), version, own + ".", found);
            } else if (elementOf(field) != null) {
                Message one = (Message) ((Collection<?>) field.get(message)).iterator().next();
                absent(root, one, version, own + ".", found);
            }
        }
    }

    /** A value that is not the field's default. */
    @SuppressWarnings("unchecked")
    private static Object other(Field field, Object before) throws Exception {
        Class<?> type = field.getType();
        if (type == boolean.class) {
            return !(Boolean) before;
        } else if (type == byte.class) {
            return (byte) 42;
        } else if (type == short.class) {
            return (short) 42;
        } else if (type == int.class) {
            return 42;
        } else if (type == long.class) {
            return 42L;
        } else if (type == double.class) {
            return 42.0;
        } else if (type == String.class) {
            return "x";
        } else if (type == Uuid.class) {
            return new Uuid(4, 2);
        } else if (type == byte[].class) {
            return new byte[] {42};
        } else if (Message.class.isAssignableFrom(type)) {
            Message one = (Message) type.getDeclaredConstructor().newInstance();
            if (before == null) {
                return one;
            }
            Field first = fieldsOf(type).get(0);
            first.set(one, other(first, first.get(one)));
            return one;
        } else if (Collection.class.isAssignableFrom(type)) {
            Class<?> element = elementOf(field);
            Collection<Object> list = (Collection<Object>) (
                ImplicitLinkedHashCollection.class.isAssignableFrom(type)
                    ? type.getDeclaredConstructor().newInstance() : new ArrayList<Object>());
            list.add(element == null ? null : element.getDeclaredConstructor().newInstance());
            return list;
        }
        throw new IllegalStateException("no other value for " + field);
    }
}
