-- Asks the gate whether a request may pass: "http-request lua.letmepost DEMAND". HAProxy has no filter for that of its own.
local gate = "http://letmepost-gate.letmepost-system.svc:80/check?"

local function listed(values)
    local list = {}
    for _, value in pairs(values) do list[#list + 1] = value end
    return list
end

core.register_action("letmepost", {"http-req"}, function(txn, demand)
    -- The key, and what a client must not send. Nothing else is the gate's to see.
    local ask = {}
    for name, values in pairs(txn.http:req_get_headers()) do
        if name == "authorization" or name:find("^x[-_]letmepost[-_]") then ask[name] = listed(values) end
    end
    local answer = core.httpclient():get{url = gate .. demand, headers = ask, timeout = 2000}
    if answer and answer.status == 200 then
        for name, values in pairs(answer.headers) do
            if name:find("^x%-letmepost%-") then txn.http:req_set_header(name, listed(values)[1] or "") end
        end
        return
    end
    -- No answer is none that lets anybody pass.
    local reply = txn:reply{status = 503}
    if answer and answer.status and answer.status >= 400 then
        reply = txn:reply{status = answer.status, body = answer.body}
        for _, name in ipairs({"www-authenticate", "retry-after", "content-type", "cache-control"}) do
            local values = answer.headers[name]
            if values then reply:add_header(name, listed(values)[1]) end
        end
    end
    txn:done(reply)
end, 1)
