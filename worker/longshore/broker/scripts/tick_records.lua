-- Read tick records, unless they are as the caller knows them.
--
-- For one server only, not for a cluster: the records lie beside their queues, in any slots.
--
-- KEYS[…] longshore:{<queue>}:periodic:<entry id>   hash: see tick.lua
-- ARGV[1] digest                                    of what the caller knows of these records; "" for nothing
--
-- Reply: {digest} when it is the caller's; otherwise {digest, and for each record {field, value, …}, which is empty when
--        there is none or when its key holds something else}.
--        Nothing is written.
--
-- A script, because all records are looked at each second, and most of them have not changed.
local records = {}
for index, key in ipairs(KEYS) do
  local record = redis.pcall("HGETALL", key)
  if record.err and not string.find(record.err, "WRONGTYPE", 1, true) then
    return record
  end
  records[index] = record.err and {} or record
end
local digest = redis.sha1hex(cmsgpack.pack(records))
if digest == ARGV[1] then
  return {digest}
end
table.insert(records, 1, digest)
return records
