/* A stand-in for libnvidia-ml.so.1: answers what a text file says, read afresh at every call.
 *
 * NVML_STAND_IN names the file. One line a value: "count 2", "driver 580.1", "0.used 1000".
 * A line that is missing answers NOT_SUPPORTED, "!4" answers error 4. "0.processes self:100,7:-"
 * lists the caller with 100 bytes, and pid 7 with an unknown amount.
 * Lines of instance 2 of card 0 begin with "0.2.": it is there if it has a uuid.
 *
 * Built with -DOLD_DRIVER, it lacks the symbols that drivers before 510 lack.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { TEXT = 512, CARDS = 16, PLACES = 8 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gpu_instance, compute_instance; } process_t;
typedef struct { char legacy[16]; unsigned int domain, bus, device, id, subsystem; char text[32]; } pci_t;

static int initialised = 0;
/* The first place of a row is the card itself, the others are its instances. */
static int handles[CARDS][PLACES];

static int find(const char *key, char *value) {
    char line[TEXT];
    size_t length = strlen(key);
    FILE *file = fopen(getenv("NVML_STAND_IN"), "r");
    int found = 0;
    while (file && !found && fgets(line, sizeof line, file))
        if (!strncmp(line, key, length) && line[length] == ' ') {
            line[strcspn(line, "\n")] = 0;
            strcpy(value, line + length + 1);
            found = 1;
        }
    if (file) fclose(file);
    if (!found) return NOT_SUPPORTED;
    return value[0] == '!' ? atoi(value + 1) : SUCCESS;
}

static int ask(const char *key, char *value) {
    return initialised > 0 ? find(key, value) : UNINITIALIZED;
}

static int ask_card(void *card, const char *name, char *value) {
    char key[64];
    int place = (int)((int *)card - &handles[0][0]), index = place / PLACES, instance = place % PLACES - 1;
    if (instance < 0) snprintf(key, sizeof key, "%d.%s", index, name);
    else snprintf(key, sizeof key, "%d.%d.%s", index, instance, name);
    return ask(key, value);
}

static int text(int status, const char *value, char *out, unsigned int size) {
    if (status == SUCCESS) snprintf(out, size, "%s", value);
    return status;
}

static int number(void *card, const char *name, unsigned int *out) {
    char value[TEXT];
    int status = ask_card(card, name, value);
    if (status == SUCCESS) *out = (unsigned int)strtoul(value, NULL, 10);
    return status;
}

static int large_number(void *card, const char *name, unsigned long long *out) {
    char value[TEXT];
    int status = ask_card(card, name, value);
    if (status == SUCCESS) *out = strtoull(value, NULL, 10);
    return status;
}

int nvmlInitWithFlags(unsigned int flags) {
    char value[TEXT];
    int status = find("init", value);
    (void)flags;
    if (status == NOT_SUPPORTED) status = SUCCESS;
    if (status == SUCCESS) initialised++;
    return status;
}

int nvmlShutdown(void) {
    if (initialised == 0) return UNINITIALIZED;
    initialised--;
    return SUCCESS;
}

int stand_in_open_sessions(void) { return initialised; }

int nvmlSystemGetDriverVersion(char *out, unsigned int size) {
    char value[TEXT];
    return text(ask("driver", value), value, out, size);
}

int nvmlSystemGetCudaDriverVersion(int *out) {
    char value[TEXT];
    int status = ask("cuda", value);
    if (status == SUCCESS) *out = atoi(value);
    return status;
}

int nvmlDeviceGetCount_v2(unsigned int *out) {
    char value[TEXT];
    int status = ask("count", value);
    if (status == SUCCESS) *out = (unsigned int)atoi(value);
    return status;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **out) {
    char value[TEXT];
    *out = &handles[index][0];
    int status = ask_card(*out, "handle", value);
    return status == NOT_SUPPORTED ? SUCCESS : status;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **out) {
    char value[TEXT];
    if (initialised == 0) return UNINITIALIZED;
    for (int place = 0; place < CARDS * PLACES; place++)
        if (ask_card(&handles[0][0] + place, "uuid", value) == SUCCESS && !strcmp(value, uuid)) {
            int status = nvmlDeviceGetHandleByIndex_v2((unsigned int)(place / PLACES), out);
            *out = &handles[0][0] + place;
            return status;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetMaxMigDeviceCount(void *card, unsigned int *out) { (void)card; *out = PLACES - 1; return SUCCESS; }

int nvmlDeviceGetMigDeviceHandleByIndex(void *card, unsigned int index, void **out) {
    char value[TEXT];
    *out = (int *)card + 1 + index;
    return ask_card(*out, "uuid", value) == SUCCESS ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetPciInfo_v3(void *card, pci_t *out) {
    char value[TEXT];
    return text(ask_card(card, "pci", value), value, out->text, sizeof out->text);
}

int nvmlDeviceGetUUID(void *card, char *out, unsigned int size) {
    char value[TEXT];
    return text(ask_card(card, "uuid", value), value, out, size);
}

int nvmlDeviceGetName(void *card, char *out, unsigned int size) {
    char value[TEXT];
    return text(ask_card(card, "name", value), value, out, size);
}

int nvmlDeviceGetMemoryInfo(void *card, memory_t *out) {
    int status = large_number(card, "total", &out->total);
    if (status == SUCCESS) status = large_number(card, "used", &out->used);
    out->free = out->total - out->used;
    return status;
}

static int processes(void *card, unsigned int *count, process_t *out) {
    char value[TEXT];
    unsigned int room = *count;
    int status = ask_card(card, "processes", value);
    if (status != SUCCESS) return status;
    *count = 0;
    for (char *rest = value, *entry; (entry = strtok_r(rest, ",", &rest)); (*count)++) {
        const char *used = strchr(entry, ':') + 1;
        if (*count >= room) continue;
        out[*count].pid = strncmp(entry, "self", 4) ? (unsigned int)atoi(entry) : (unsigned int)getpid();
        out[*count].used = *used == '-' ? UINT64_MAX : strtoull(used, NULL, 10);
    }
    return *count > room ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v2(void *card, unsigned int *count, process_t *out) {
    return processes(card, count, out);
}

#ifndef OLD_DRIVER
int nvmlDeviceGetComputeRunningProcesses_v3(void *card, unsigned int *count, process_t *out) {
    return processes(card, count, out);
}
#endif

int nvmlDeviceGetCudaComputeCapability(void *card, int *major, int *minor) {
    char value[TEXT];
    int status = ask_card(card, "capability", value);
    if (status == SUCCESS) sscanf(value, "%d.%d", major, minor);
    return status;
}

int nvmlDeviceGetMigMode(void *card, unsigned int *current, unsigned int *pending) {
    *pending = 0;
    return number(card, "mig", current);
}

int nvmlDeviceGetUtilizationRates(void *card, utilization_t *out) {
    out->memory = 0;
    return number(card, "utilisation", &out->gpu);
}

int nvmlDeviceGetTemperature(void *card, int sensor, unsigned int *out) {
    return sensor == 0 ? number(card, "temperature", out) : NOT_SUPPORTED;
}

int nvmlDeviceGetClockInfo(void *card, int type, unsigned int *out) {
    return type == 1 ? number(card, "sm_clock", out) : NOT_SUPPORTED;
}

#ifndef OLD_DRIVER
int nvmlDeviceGetTotalEnergyConsumption(void *card, unsigned long long *out) {
    return large_number(card, "energy_mj", out);
}
#endif

int nvmlDeviceGetCurrentClocksThrottleReasons(void *card, unsigned long long *out) {
    return large_number(card, "throttle", out);
}

int nvmlDeviceGetEnforcedPowerLimit(void *card, unsigned int *out) { return number(card, "power_limit_mw", out); }
int nvmlDeviceGetPowerUsage(void *card, unsigned int *out) { return number(card, "power_mw", out); }
