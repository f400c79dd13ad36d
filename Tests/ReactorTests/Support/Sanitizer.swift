import Glibc

/// Sanitizers stand in front of the allocator and keep books about every byte, which are no memory of ours, and take their time.
enum Sanitizer {
    static let isOn = dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil
}
