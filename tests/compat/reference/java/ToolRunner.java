// Runs Apache's command-line tools one after the other in a single JVM, so that a suite of many
// tools pays for one JVM start. Also starts the reference broker (format, then serve).
//
// Protocol on standard input, big endian:
//   int argument_count, then per argument int length + UTF-8; argument 0 is the tool's class;
//   int stdin_length + bytes handed to the tool as its standard input.
// Answer on standard output: int exit code, int length + what the tool wrote to standard output,
// int length + what it wrote to standard error.

import java.io.BufferedInputStream;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.apache.kafka.common.utils.Exit;

public final class ToolRunner {
    /** Unwinds a tool that asked for the end of the process. An Error, so that few catch it. */
    private static final class ToolExit extends Error {
        ToolExit() {
            super("", null, false, false);
        }

        // Some tools print whatever unwinds them; an asked-for end is not worth a line.
        @Override
        public void printStackTrace(PrintStream stream) {}

        @Override
        public String toString() {
            return "";
        }
    }

    // The first code asked for is the tool's own: a later one can only come from a handler that
    // caught ToolExit on its way up.
    private static Integer firstCode;
    private static final List<Runnable> shutdownHooks = new ArrayList<>();

    public static void main(String[] args) throws Throwable {
        if (args.length > 0 && args[0].equals("--broker")) {
            serve(args[1], args[2]);
            return;
        }
        InputStream rawIn = new FileInputStream(FileDescriptor.in);
        DataInputStream in = new DataInputStream(new BufferedInputStream(rawIn));
        DataOutputStream out = new DataOutputStream(new FileOutputStream(FileDescriptor.out));
        while (true) {
            int count;
            try {
                count = in.readInt();
            } catch (EOFException end) {
                Runtime.getRuntime().halt(0);
                return;
            }
            String[] words = new String[count];
            for (int i = 0; i < count; i++) {
                words[i] = new String(readBytes(in), StandardCharsets.UTF_8);
            }
            byte[] stdin = readBytes(in);
            ByteArrayOutputStream toolOut = new ByteArrayOutputStream();
            ByteArrayOutputStream toolErr = new ByteArrayOutputStream();
            int code = runTool(words, stdin, toolOut, toolErr);
            out.writeInt(code);
            writeBytes(out, toolOut);
            writeBytes(out, toolErr);
            out.flush();
        }
    }

    private static byte[] readBytes(DataInputStream in) throws java.io.IOException {
        byte[] bytes = new byte[in.readInt()];
        in.readFully(bytes);
        return bytes;
    }

    private static void writeBytes(DataOutputStream out, ByteArrayOutputStream bytes)
            throws java.io.IOException {
        out.writeInt(bytes.size());
        bytes.writeTo(out);
    }

    private static void catchExits() {
        firstCode = null;
        shutdownHooks.clear();
        Exit.Procedure leave = (code, message) -> {
            synchronized (shutdownHooks) {
                if (firstCode == null) {
                    firstCode = code;
                    if (message != null) {
                        System.err.println(message);
                    }
                }
            }
            throw new ToolExit();
        };
        Exit.setExitProcedure(leave);
        Exit.setHaltProcedure(leave);
        Exit.setShutdownHookAdder((name, hook) -> shutdownHooks.add(hook));
    }

    private static int runTool(
            String[] words, byte[] stdin, ByteArrayOutputStream toolOut, ByteArrayOutputStream toolErr)
            throws Exception {
        PrintStream oldOut = System.out;
        PrintStream oldErr = System.err;
        InputStream oldIn = System.in;
        System.setIn(new ByteArrayInputStream(stdin));
        System.setOut(new PrintStream(toolOut, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(toolErr, true, StandardCharsets.UTF_8));
        catchExits();
        Set<Thread> before = Thread.getAllStackTraces().keySet();
        int code = 0;
        try {
            Method main = Class.forName(words[0]).getMethod("main", String[].class);
            main.invoke(null, (Object) Arrays.copyOfRange(words, 1, words.length));
            // As at the end of a real main: the process lives on while such threads do.
            for (Thread thread : Thread.getAllStackTraces().keySet()) {
                if (!thread.isDaemon() && !before.contains(thread)) {
                    thread.join();
                }
            }
        } catch (InvocationTargetException wrapped) {
            if (!(wrapped.getCause() instanceof ToolExit)) {
                wrapped.getCause().printStackTrace();
                code = 1;
            }
        } catch (ReflectiveOperationException missing) {
            missing.printStackTrace();
            code = 127;
        }
        if (firstCode != null) {
            code = firstCode;
        }
        // Hooks that a real exit would run (they close clients); an end asked for there is ignored.
        for (Runnable hook : new ArrayList<>(shutdownHooks)) {
            try {
                hook.run();
            } catch (Throwable ignored) {
                System.err.println("shutdown hook: " + ignored);
            }
        }
        System.out.flush();
        System.err.flush();
        System.setIn(oldIn);
        System.setOut(oldOut);
        System.setErr(oldErr);
        return code;
    }

    /** Formats the storage that the properties file names, then runs the broker in this JVM. */
    private static void serve(String properties, String clusterId) throws Throwable {
        catchExits();
        try {
            Class<?> storage = Class.forName("kafka.tools.StorageTool");
            storage.getMethod("main", String[].class).invoke(null, (Object) new String[] {
                "format", "--ignore-formatted", "-t", clusterId, "-c", properties});
        } catch (InvocationTargetException wrapped) {
            if (!(wrapped.getCause() instanceof ToolExit)) {
                throw wrapped.getCause();
            }
        }
        if (firstCode != null && firstCode != 0) {
            Runtime.getRuntime().halt(firstCode);
        }
        Exit.resetExitProcedure();
        Exit.resetHaltProcedure();
        Exit.resetShutdownHookAdder();
        Class.forName("kafka.Kafka").getMethod("main", String[].class)
                .invoke(null, (Object) new String[] {properties});
    }
}
