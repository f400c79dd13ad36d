import Glibc
import ProtocolProbe

exit(ProtocolProbe.run(Array(CommandLine.arguments.dropFirst())))
